"""Reports as text for people: what was found on which line, then what was measured and what not."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from handlens.report import (
    Coverage,
    Failure,
    Finding,
    OutputAccuracy,
    Related,
    Report,
    Severity,
    Span,
)
from handlens.rules import RULES

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "information", "hint")
STYLES: dict[Severity, str] = {
    "error": "bold red",
    "warning": "bold yellow",
    "information": "bold cyan",
    "hint": "bold",
}
_GUTTER = "blue"
_TAB = 4
_WIDEST_EXCERPT = 140
_LONGEST_EXCERPT = 6
_INSTANCES_SHOWN = 4

# C0 and C1 controls could drive the terminal, bidirectional marks could reorder what it shows, and
# lone surrogates cannot be written at all.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


@dataclass(frozen=True)
class View:
    """What a rendering needs beside the report."""

    read: Callable[[str], str | None]
    """The text of a file by its name; None where there is none."""
    folder: str
    """Files below this folder are shown relative to it."""
    verbose: bool = False
    """Show hints one by one, and tracebacks."""

    def path(self, file: str) -> str:
        below = os.path.relpath(file, self.folder) if os.path.isabs(file) else file
        return clean(file if below.startswith(os.pardir) else below)

    def place(self, span: Span) -> str:
        """``path:line:column``, counted from 1 as editors do."""
        return f"{self.path(span.file)}:{span.line}:{span.column + 1}"


def clean(text: str) -> str:
    """``text`` on one line, with everything that a terminal would act upon written as an escape."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def render(report: Report, console: Console, view: View, fail_under: float | None = None) -> None:
    """Print one report. ``fail_under`` is the output SQNR, in dB, that was asked for."""
    hints = [finding for finding in report.findings if finding.severity == "hint"]
    shown = [finding for finding in report.findings if view.verbose or finding.severity != "hint"]
    inherited = Counter() if view.verbose else Counter(_origin(hint) for hint in hints)
    for finding in sorted(shown, key=_reading_order):
        # The first finding of an op takes the note about those that inherit from it.
        heirs = inherited.pop(finding.handle, 0) if finding.handle is not None else 0
        _print(console, *_finding(finding, report, view, heirs), Text())
    if report.error and report.error.traceback and view.verbose:
        _print(console, *_traceback(report.error), Text())
    _print(console, *_summary(report, view, inherited, fail_under), Text())


def render_total(reports: Sequence[Report], console: Console) -> None:
    """Print the sum of several reports in one line."""
    broken = sum(report.status == "failed" for report in reports)
    findings = [finding for report in reports for finding in report.findings]
    total = Text(_count(len(reports), "target"), "bold")
    total.append(f": {broken} could not run, " if broken else ": ")
    _print(console, total.append_text(_tally(findings)))


def _print(console: Console, *lines: Text) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)


def _reading_order(finding: Finding) -> tuple[bool, str, int, int, int]:
    span = finding.span or Span("", 0, 0, 0, 0)
    severity = SEVERITIES.index(finding.severity)
    return finding.span is None, span.file, span.line, span.column, severity


def _origin(hint: Finding) -> int | None:
    return hint.related[0].handle if hint.related else None


# -- a finding -------------------------------------------------------------------------------------


def _finding(finding: Finding, report: Report, view: View, heirs: int) -> Iterable[Text]:
    style = STYLES[finding.severity]
    first, *more = finding.message.splitlines() or [""]
    place = view.place(finding.span) if finding.span else _title(report, view)
    yield Text.assemble(
        (place, "bold"),
        ": ",
        (finding.rule, Style.parse(style) + Style(link=_url(finding.rule))),
        " ",
        (finding.severity, style),
        f": {clean(first)}",
    )
    for line in more:
        yield Text(f"  {clean(line)}")
    margin = 1
    if finding.span:
        margin = len(str(finding.span.end_line)) + 1
        yield from _excerpt(finding.span, view, style)
    for note in _notes(finding, view, heirs):
        yield Text.assemble((f"{'':{margin}}= ", _GUTTER), note)


def _url(code: str) -> str | None:
    return RULES[code].url if code in RULES else None


def _notes(finding: Finding, view: View, heirs: int) -> Iterable[str]:
    """What belongs to a finding, a line each; the other runs of the same line share one."""
    instances = [each for each in finding.related if each.span and each.span == finding.span]
    for each in finding.related:
        if each not in instances:
            yield f"{clean(each.message)}{_at(each, view)}"
    if instances:
        limit = len(instances) if view.verbose else _INSTANCES_SHOWN
        more = len(instances) - limit
        listed = ", ".join(clean(each.message) for each in instances[:limit])
        yield f"also here: {listed}" + (f" and {more} more" if more > 0 else "")
    if heirs:
        yield f"{_count(heirs, 'op')} downstream {'inherits' if heirs == 1 else 'inherit'} this loss (HL102)"


def _at(related: Related, view: View) -> str:
    return f" ({view.place(related.span)})" if related.span else ""


def _traceback(error: Failure) -> Iterable[Text]:
    for line in error.traceback.splitlines():
        yield Text(f"  {clean(line)}", "dim")


# -- source text -----------------------------------------------------------------------------------


def _excerpt(span: Span, view: View, style: str) -> Iterable[Text]:
    """The lines of ``span`` with it underlined; nothing where they cannot be had."""
    lines = (view.read(span.file) or "").split("\n")
    if not 1 <= span.line <= span.end_line <= len(lines):
        return
    width = len(str(span.end_line))
    yield _numbered("", width)
    if span.line == span.end_line:
        yield from _one_line(lines[span.line - 1], span, width, style)
    else:
        yield from _many_lines(lines, span, width, style)


def _numbered(number: object, width: int, *parts: tuple[str, str]) -> Text:
    return Text.assemble((f"{number:>{width}} |", _GUTTER), *((" ", ""), *parts) if parts else ())


def _one_line(line: str, span: Span, width: int, style: str) -> Iterable[Text]:
    before = _display(line[: span.column])
    marked = _display(line[span.column : span.end_column], len(before))
    after = _display(line[span.end_column :], len(before) + len(marked))
    room = _WIDEST_EXCERPT
    if cell_len(before) + cell_len(marked) > room:
        before = _last_cells(before, room // 4)
        marked = _first_cells(marked, room - room // 4)
    after = _first_cells(after, room - cell_len(before) - cell_len(marked))
    yield _numbered(span.line, width, (before + marked + after, ""))
    yield _numbered("", width, (" " * cell_len(before) + "^" * max(1, cell_len(marked)), style))


def _many_lines(lines: Sequence[str], span: Span, width: int, style: str) -> Iterable[Text]:
    """As compilers draw it: a line down the side, from where the span begins to where it ends."""
    first = lines[span.line - 1]
    head = _display(first[: span.column])
    numbers: list[int | None] = list(range(span.line, span.end_line + 1))
    if len(numbers) > _LONGEST_EXCERPT:
        numbers[_LONGEST_EXCERPT // 2 : 1 - _LONGEST_EXCERPT // 2] = [None]
    inline = not head.strip()
    for number in numbers:
        if number is None:
            yield Text.assemble((f"{'...':<{width}} ", _GUTTER), ("|" if width < 3 else "", style))
            continue
        side = "|" if number != span.line else "/" if inline else " "
        text = _first_cells(_display(lines[number - 1]), _WIDEST_EXCERPT)
        yield _numbered(number, width, (f"{side} ", style), (text, ""))
        if number == span.line and not inline:
            yield _numbered("", width, (" " + "_" * (cell_len(head) + 1) + "^", style))
    tail = cell_len(_display(lines[span.end_line - 1][: span.end_column]))
    yield _numbered("", width, ("|" + "_" * min(tail, _WIDEST_EXCERPT) + "^", style))


def _display(text: str, column: int = 0) -> str:
    """Source text as it is shown from ``column`` on: tabs as spaces, control characters as escapes."""
    shown = ""
    for character in text.rstrip("\r"):
        if character == "\t":
            shown += " " * (_TAB - (column + cell_len(shown)) % _TAB)
        else:
            shown += clean(character)
    return shown


def _first_cells(text: str, room: int) -> str:
    return text if cell_len(text) <= room else set_cell_size(text, max(0, room - 1)) + "…"


def _last_cells(text: str, room: int) -> str:
    if cell_len(text) <= room:
        return text
    start = len(text)
    while cell_len(text[start - 1 :]) < room:
        start -= 1
    return "…" + text[start:]


# -- the summary -----------------------------------------------------------------------------------


def _title(report: Report, view: View) -> str:
    return f"{view.path(report.file)}::{clean(report.target)}"


def _summary(
    report: Report, view: View, inherited: Counter[int | None], fail_under: float | None
) -> Iterable[Text]:
    title = Text(_title(report, view), "bold")
    if report.recipe:
        title.append(f" · recipe {clean(report.recipe)}", "not bold dim")
    yield title
    if report.error:
        rule = RULES.get(report.error.rule)
        name = f" {rule.name}" if rule else ""
        failure = Text(f"{report.error.rule}{name}", STYLES["error"])
        if report.error.traceback and not view.verbose:
            failure.append("; --verbose shows the traceback", "not bold default")
        yield _row("could not run", failure)
        return
    if report.output:
        output = Text(f"{_accuracy(report.output)}, {_count(report.batches, 'batch')}")
        if fail_under is not None and falls_short(report.output, fail_under):
            output.append(f" (under the {fail_under:g} dB asked for)", STYLES["error"])
        yield _row("output", output)
    if report.coverage:
        yield from _coverage(report.coverage)
    for handle, heirs in inherited.items():
        inherits = "inherits" if heirs == 1 else "inherit"
        yield _row(
            "inherited", Text(f"{_count(heirs, 'op')} {inherits} {_loss_of(handle, report, view)}")
        )
    yield _row("found", _tally(report.findings) if report.findings else _nothing(report, view))
    if report.timings:
        stages = ", ".join(f"{clean(stage)} {time:.1f}" for stage, time in report.timings.items())
        yield _row("time", Text(f"{sum(report.timings.values()):.1f} s ({stages})", "dim"))


def _row(label: str, value: Text) -> Text:
    return Text.assemble((f"  {label:<14}", "dim")).append_text(value)


def falls_short(output: OutputAccuracy, fail_under: float) -> bool:
    """Whether the model's output is less accurate than ``fail_under`` dB."""
    if output.verdict == "ok" and output.sqnr_db is not None:
        return output.sqnr_db < fail_under
    return output.verdict != "exact"


def _accuracy(output: OutputAccuracy) -> str:
    if output.verdict == "exact":
        return "exactly the reference"
    if output.verdict == "non-finite":
        return "NaN or Inf where the reference is finite"
    if output.verdict == "no-signal" or output.sqnr_db is None:
        return "all zero in the reference, and not in the quantized model"
    return f"{output.sqnr_db:.1f} dB"


def _coverage(coverage: Coverage) -> Iterable[Text]:
    compared = f"{coverage.matched} of {_count(coverage.ops, 'op')}"
    yield _row("compared", Text(compared, "" if coverage.matched else STYLES["warning"]))
    yield _row("quantized", Text(_count(coverage.quantized, "op")))
    reasons = Counter(clean(each.reason) for each in coverage.unmatched)
    label = "not compared"
    for reason, count in reasons.most_common():
        yield _row(label, Text(f"{count} {reason}"))
        label = ""


def _loss_of(handle: int | None, report: Report, view: View) -> str:
    for op in report.ops:
        if op.handle == handle:
            place = f" ({view.place(op.span)})" if op.span else ""
            return f"the loss of {clean(op.name)}{place} (HL102)"
    return "a loss from upstream (HL102)"


def _nothing(report: Report, view: View) -> Text:
    text = Text("nothing", "green")
    measured = [(op.sqnr_db, op) for op in report.ops if op.sqnr_db is not None]
    if measured:
        lowest, op = min(measured, key=lambda each: each[0])
        place = f" ({view.place(op.span)})" if op.span else ""
        text.append(f"; the lowest is {clean(op.name)} {lowest:.1f} dB{place}", "not green")
    return text


def _tally(findings: Iterable[Finding]) -> Text:
    counts = Counter(finding.severity for finding in findings)
    parts = [
        Text(_count(counts[severity], severity), STYLES[severity] if severity != "hint" else "")
        for severity in SEVERITIES
        if counts[severity]
    ]
    return Text(", ").join(parts) if parts else Text("nothing found", "green")


_PLURALS = {"batch": "batches", "information": "information"}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else _PLURALS.get(noun, noun + 's')}"
