"""What every rendering needs beside the report: source texts, file names, and text made harmless."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handlens.diagnosis.rules.worker_failed import WorkerFailed
from handlens.report import Failure, Report, Severity, Span

if TYPE_CHECKING:
    from rich.console import Console

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "information", "hint")
STYLES: dict[Severity, str] = {
    "error": "bold red",
    "warning": "bold yellow",
    "information": "bold cyan",
    "hint": "bold",
}
GUTTER = "blue"

# C0 and C1 controls could drive the terminal, bidirectional marks could reorder what it shows, and
# lone surrogates cannot be written at all.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


@dataclass(frozen=True)
class View:
    """What a rendering needs beside the report."""

    read: Callable[[str], str | None]
    """Gives the text of a file by its name; None if there is no text of it."""
    folder: str
    """Files below this folder are shown relative to it."""
    verbose: bool = False
    """True to show every hint by itself, and tracebacks."""
    console: Console | None = None
    """The terminal that text is written for, with its width and colours; None for plain text in lines of
    any length."""

    def path(self, file: str) -> str:
        """The name of a file relative to ``folder``."""
        return shown_path(file, self.folder)

    def place(self, span: Span) -> str:
        """``path:line:column``, counted from 1 as editors do."""
        return f"{self.path(span.file)}:{span.line}:{span.column + 1}"

    def title(self, report: Report) -> str:
        """The name of the target that a report is about: ``path::target``."""
        target = f"::{clean(report.target)}" if report.target else ""
        return f"{self.path(report.file)}{target}"

    def has_detail(self, error: Failure) -> bool:
        """True if the traceback of an error is shown."""
        # A worker that died leaves no other explanation than what it printed before.
        return bool(error.traceback) and (self.verbose or error.rule == WorkerFailed.code)


def shown_path(file: str, folder: str) -> str:
    """The name of a file, relative to ``folder`` if the file is below it."""
    below = os.path.relpath(file, folder) if os.path.isabs(file) else file
    return clean(file if below.startswith(os.pardir) else below)


def clean(text: str) -> str:
    """Write ``text`` on one line, with an escape for every character that a terminal would act upon."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def clean_lines(text: str) -> str:
    """Make every line of ``text`` ``clean``, and leave its line ends."""
    return "\n".join(map(clean, text.split("\n")))
