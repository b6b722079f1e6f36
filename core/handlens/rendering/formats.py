"""The output formats, by the names that ``--format`` and the server's report command take.

A format is one module of this folder with a function ``render(document, view) -> str``, and one line of
``FORMATS``. Options, help and tests read the names from there.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from handlens.rendering.view import View
    from handlens.report import Document


@dataclass(frozen=True)
class Format:
    """One way to write a document."""

    module: str
    """The module of this folder that renders it."""
    summary: str
    """What is written, in a few words for the help."""
    suffix: str
    """How the name of a file of this format ends."""
    shown_in: Literal["terminal", "editor", "browser"]
    """Where people look at it. What a terminal shows is not saved as a document."""

    def render(self, document: Document, view: View) -> str:
        """The text of a document in this format."""
        # Imported when it is first needed: a template engine takes a good part of the time that the server
        # has to start, and `handlens targets` to end.
        text: str = importlib.import_module(f"{__package__}.{self.module}").render(document, view)
        return text


FORMATS: dict[str, Format] = {
    "text": Format("text", "findings under their source lines", ".txt", "terminal"),
    "json": Format("jsondocument", "all that was measured, for programs", ".json", "editor"),
    "html": Format("html", "a page with plots, for a browser", ".html", "browser"),
}
