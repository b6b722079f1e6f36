"""Reports as text for people: what was found on which line, then what was measured and what not."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

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


def render(
    report: Report,
    console: Console,
    view: View,
    fail_under: float | None = None,
    hidden: int = 0,
) -> None:
    """Print one report.

    ``fail_under`` is the output SQNR, in dB, that was asked for; ``hidden`` is the number of findings
    that were asked not to be in the report.
    """
    hints = [finding for finding in report.findings if finding.severity == "hint"]
    shown = [finding for finding in report.findings if view.verbose or finding.severity != "hint"]
    inherited: Counter[int | None] = Counter()
    for hint in () if view.verbose else hints:
        inherited[_origin(hint)] += 1 + len(_instances(hint))
    for _, group in groupby(sorted(shown, key=_reading_order), key=_where):
        findings = list(group)
        # The first finding of an op takes the note about those that inherit from it.
        handles = {handle for finding in findings for handle in _handles(finding)}
        heirs = sum(inherited.pop(handle, 0) for handle in handles)
        _print(console, *_findings(findings, report, view, heirs), Text())
    if report.error and _has_detail(report.error, view):
        _print(console, *_detail(report.error), Text())
    _print(console, *_summary(report, view, inherited, fail_under, hidden), Text())


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


def _where(finding: Finding) -> object:
    """The same for findings that share their source expression."""
    return finding.span or id(finding)


def _instances(finding: Finding) -> list[Related]:
    """The other runs of the same expression."""
    return [each for each in finding.related if each.span and each.span == finding.span]


def _handles(finding: Finding) -> set[int]:
    handles = (finding.handle, *(each.handle for each in _instances(finding)))
    return {handle for handle in handles if handle is not None}


def _origin(hint: Finding) -> int | None:
    """The handle of the op that lost what the op of this HL102 passes on; None if it is not known."""
    first = hint.related[0] if hint.related else None
    return None if first is None or first.span == hint.span else first.handle


# -- a finding -------------------------------------------------------------------------------------


def _findings(
    findings: Sequence[Finding], report: Report, view: View, heirs: int
) -> Iterable[Text]:
    """The findings of one source expression, the gravest first, over its text and their notes."""
    for finding in findings:
        yield from _message(finding, report, view)
    span = findings[0].span
    margin = 2 if span is None else len(str(span.end_line)) + 1
    if span is not None:
        yield from _excerpt(span, view, STYLES[findings[0].severity])
    notes = [note for finding in findings for note in _notes(finding, report, view)]
    if heirs:
        notes.append(f"{_inherit(heirs)} this loss (HL102)")
    for note in notes:
        yield Text.assemble((f"{'':{margin}}= ", _GUTTER), note)


def _message(finding: Finding, report: Report, view: View) -> Iterable[Text]:
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


def _url(code: str) -> str | None:
    return RULES[code].url if code in RULES else None


def _notes(finding: Finding, report: Report, view: View) -> Iterable[str]:
    """What belongs to a finding, a line each; the other runs of the same line share one."""
    instances = _instances(finding)
    for each in finding.related:
        if each not in instances:
            yield f"{clean(each.message)}{_at(each, view)}"
    if instances:
        yield _others(instances, report, None if view.verbose else _INSTANCES_SHOWN)


def _others(instances: Iterable[Related], report: Report, limit: int | None) -> str:
    """The other runs of a line by their modules, the worst of them first."""
    ops = {op.handle: op for op in report.ops}
    listed: list[tuple[float, str]] = []
    for each in instances:
        op = ops.get(each.handle or 0)
        ratio = math.inf if op is None or op.sqnr_db is None else op.sqnr_db
        known = op is not None and op.module and op.sqnr_db is not None
        listed.append((ratio, f"{op.module} {ratio:.1f} dB" if op and known else each.message))
    texts = [clean(text) for _, text in sorted(listed, key=lambda each: each[0])]
    if limit is not None and len(texts) > limit:
        texts[limit:] = ["…"]
    return f"{len(listed)} more here: {', '.join(texts)}"


def _inherit(heirs: int) -> str:
    return "1 op downstream inherits" if heirs == 1 else f"{heirs} ops downstream inherit"


def _at(related: Related, view: View) -> str:
    return f" ({view.place(related.span)})" if related.span else ""


def _has_detail(error: Failure, view: View) -> bool:
    # What a worker printed before it died is all that there is to go by.
    return bool(error.traceback) and (view.verbose or error.rule == "HL304")


def _detail(error: Failure) -> Iterable[Text]:
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
            yield Text.assemble((f"{'...':<{width + 3}}", _GUTTER), ("|", style))
            continue
        side = "|" if number != span.line else "/" if inline else " "
        text = _first_cells(_display(lines[number - 1]), _WIDEST_EXCERPT)
        yield _numbered(number, width, (f"{side} ", style), (text, ""))
        if number == span.line and not inline:
            yield _numbered("", width, (" " + "_" * (cell_len(head) + 1) + "^", style))
    tail = cell_len(_display(lines[span.end_line - 1][: span.end_column]))
    yield _numbered("", width, ("|" + "_" * min(tail, _WIDEST_EXCERPT) + "^", style))


def _display(text: str, column: int = 0) -> str:
    """Source text as it is shown from ``column`` on: no tabs, no control characters."""
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
    target = f"::{clean(report.target)}" if report.target else ""
    return f"{view.path(report.file)}{target}"


def _summary(
    report: Report,
    view: View,
    inherited: Counter[int | None],
    fail_under: float | None,
    hidden: int,
) -> Iterable[Text]:
    title = Text(_title(report, view), "bold")
    if report.recipe:
        title.append(f" · recipe {clean(report.recipe)}", "not bold dim")
    yield title
    if report.error:
        rule = RULES.get(report.error.rule)
        name = f" {rule.name}" if rule else ""
        failure = Text(f"{report.error.rule}{name}", STYLES["error"])
        if report.error.traceback and not _has_detail(report.error, view):
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
    label = "inherited"
    for handle, heirs in inherited.items():
        yield _row(label, Text(_loss_of(handle, heirs, report, view)))
        label = ""
    found = _tally(report.findings)
    if all(finding.severity == "hint" for finding in report.findings):
        found.append_text(_lowest(report, view))
    if report.suppressed:
        found.append(f"; {report.suppressed} suppressed by comments")
    if hidden:
        found.append(f"; {hidden} not shown (select, ignore)")
    yield _row("found", found)
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


def _loss_of(handle: int | None, heirs: int, report: Report, view: View) -> str:
    for op in report.ops:
        if op.handle == handle:
            place = f" ({view.place(op.span)})" if op.span else ""
            return f"{_inherit(heirs)} the loss of {clean(op.name)}{place} (HL102)"
    return f"{_count(heirs, 'op')} with the sum of small losses upstream (HL102)"


def _lowest(report: Report, view: View) -> Text:
    """How near the ops that were compared came to a finding."""
    measured = [(op.sqnr_db, op) for op in report.ops if op.sqnr_db is not None]
    if not measured:
        return Text()
    lowest, op = min(measured, key=lambda each: each[0])
    place = f" ({view.place(op.span)})" if op.span else ""
    return Text(f"; the lowest is {clean(op.name)} {lowest:.1f} dB{place}")


def _tally(findings: Iterable[Finding]) -> Text:
    counts = Counter(finding.severity for finding in findings)
    parts = [
        Text(_count(counts[severity], severity), STYLES[severity] if severity != "hint" else "")
        for severity in SEVERITIES
        if counts[severity]
    ]
    return Text(", ").join(parts) if parts else Text("nothing", "green")


_PLURALS = {"batch": "batches", "information": "information"}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else _PLURALS.get(noun, noun + 's')}"
