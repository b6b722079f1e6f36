"""Reports as text for people: what was found on which line, then what was measured and what not.

A report with advice was made for it: its advice is all that is shown.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from handlens import words
from handlens.diagnosis.rules.inherited_error import InheritedError
from handlens.diagnosis.rules.low_sqnr import LowSqnr
from handlens.rendering.advice_text import advice_lines
from handlens.rendering.excerpt import excerpt
from handlens.rendering.summary import inheriting, summary, tally
from handlens.rendering.view import GUTTER, SEVERITIES, STYLES, View, clean
from handlens.report import Document, Failure, Finding, Related, Report, Span

_INSTANCES_SHOWN = 4
_WIDEST_NOTE, _NARROWEST_NOTE = 100, 40
# How far an op, or its worst batch, is from what is expected of it before that is worth a word.
_NOTABLE_DB = 3.0


def render(document: Document, view: View) -> str:
    """The text of all reports in their order. Several end with a line that sums them up.

    On a terminal, a last line says where the worst finding is explained.
    """
    console = view.console or Console(file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        for report in document.reports:
            print_report(report, console, view)
        checked = [report for report in document.reports if report.advice is None]
        if len(checked) > 1:
            _print_total(checked, console)
        findings = [finding for report in checked for finding in report.findings]
        if console.is_terminal and findings:
            worst = min(findings, key=lambda each: SEVERITIES.index(each.severity))
            _print(console, Text(f"`handlens rule {worst.rule}` explains {worst.rule}.", "dim"))
    return captured.get()


def print_report(report: Report, console: Console, view: View) -> None:
    """Print the findings of a report in the order of the source and a summary of the run; or its advice."""
    if report.advice is not None:
        _print(console, *advice_lines(report, report.advice, console, view), Text())
        return
    hints = [finding for finding in report.findings if finding.severity == "hint"]
    shown = [finding for finding in report.findings if view.verbose or finding.severity != "hint"]
    inherited: Counter[int | None] = Counter()
    for hint in () if view.verbose else hints:
        inherited[_origin(hint)] += 1 + len(_instances(hint))
    width = min(console.width, _WIDEST_NOTE) if console.is_terminal else None
    for _, group in groupby(sorted(shown, key=_reading_order), key=_where):
        findings = list(group)
        # How many ops inherit a loss is said once, under the first finding about the op that lost it.
        handles = {handle for finding in findings for handle in _handles(finding)}
        heirs = sum(inherited.pop(handle, 0) for handle in handles)
        _print(console, *_findings(findings, report, view, heirs, width), Text())
    if report.error and view.has_detail(report.error):
        _print(console, *_detail(report.error), Text())
    _print(console, *summary(report, view, inherited), Text())


def _print_total(reports: Sequence[Report], console: Console) -> None:
    """Print the sum of several reports in one line."""
    broken = sum(report.status == "failed" for report in reports)
    findings = [finding for report in reports for finding in report.findings]
    total = Text(words.count(len(reports), "target"), "bold")
    total.append(f": {broken} could not run, " if broken else ": ")
    _print(console, total.append_text(tally(findings)))


def _print(console: Console, *lines: Text) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)


def _reading_order(finding: Finding) -> tuple[bool, str, int, int, int]:
    span = finding.span or Span("", 0, 0, 0, 0)
    severity = SEVERITIES.index(finding.severity)
    return finding.span is None, span.file, span.line, span.column, severity


def _where(finding: Finding) -> object:
    """A key that findings share exactly if they are about the same source expression."""
    return finding.span or id(finding)


def _instances(finding: Finding) -> list[Related]:
    """The other ops that the source expression of a finding runs, as in a loop."""
    return [each for each in finding.related if each.span and each.span == finding.span]


def _handles(finding: Finding) -> set[int]:
    handles = (finding.handle, *(each.handle for each in _instances(finding)))
    return {handle for handle in handles if handle is not None}


def _origin(hint: Finding) -> int | None:
    """The handle of the op that an inherited loss came from; None if that is not known."""
    first = hint.related[0] if hint.related else None
    return None if first is None or first.span == hint.span else first.handle


# -- a finding -------------------------------------------------------------------------------------


def _findings(
    findings: Sequence[Finding], report: Report, view: View, heirs: int, width: int | None
) -> Iterable[Text]:
    """The messages about one source expression, its text underlined, and the notes.

    Args:
        findings: All findings about the expression, the most severe first.
        heirs: How many ops inherit the loss.
        width: Number of columns to wrap notes to; None leaves each on one line.
    """
    for finding in findings:
        yield from _message(finding, report, view)
    span = findings[0].span
    margin = 2 if span is None else len(str(span.end_line)) + 1
    if span is not None:
        yield from excerpt(span, view, STYLES[findings[0].severity])
    notes = [note for finding in findings for note in _notes(finding, report, view)]
    if heirs:
        notes.append(("", f"{inheriting(heirs)} this loss ({InheritedError.code})"))
    # Two findings about an expression, say a low ratio and clipping, may have the same notes.
    for label, text in dict.fromkeys(notes):
        yield from _note(label, text, margin, width)


def _note(label: str, text: str, margin: int, width: int | None) -> Iterable[Text]:
    prefix = f"{label}: " if label else ""
    indent = margin + len(f"= {prefix}")
    lines = [text] if width is None else _wrapped(text, max(width - indent, _NARROWEST_NOTE))
    yield Text.assemble((f"{'':{margin}}= ", GUTTER), (prefix, "bold"), lines[0])
    for line in lines[1:]:
        yield Text(f"{'':{indent}}{line}")


def _wrapped(text: str, width: int) -> list[str]:
    # A broken path could not be clicked, and a number is read together with its unit.
    text = text.replace(" dB", "\u00a0dB")
    wrapped = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in wrapped or [text]]


def _message(finding: Finding, report: Report, view: View) -> Iterable[Text]:
    style = STYLES[finding.severity]
    first, *more = finding.message.splitlines() or [""]
    place = view.place(finding.span) if finding.span else view.title(report)
    yield Text.assemble(
        (place, "bold"),
        ": ",
        (finding.rule, style),
        " ",
        (finding.severity, style),
        f": {clean(first)}",
    )
    for line in more:
        yield Text(f"  {clean(line)}")


def _notes(finding: Finding, report: Report, view: View) -> Iterable[tuple[str, str]]:
    """The notes below a finding, each with its label; one note lists all other runs of the expression."""
    for label, line in (("cause", finding.cause.why), ("help", finding.cause.help)):
        if line:
            yield label, clean(line)
    for label, line in _measured(finding, report):
        yield label, line
    instances = _instances(finding)
    for each in finding.related:
        if each not in instances:
            yield "", f"{clean(each.message)}{_at(each, view)}"
    if instances:
        yield "", _others(instances, report, None if view.verbose else _INSTANCES_SHOWN)


def _measured(finding: Finding, report: Report) -> Iterable[tuple[str, str]]:
    """Numbers that say where to look: how good the op could be, and the batch in which it is worst."""
    op = next((op for op in report.ops if op.handle == finding.handle), None)
    if op is None or finding.rule != LowSqnr.code:
        return
    floor, introduced = op.floor_sqnr_db, op.introduced_sqnr_db
    if floor is not None and introduced is not None and floor - introduced >= _NOTABLE_DB:
        yield "floor", f"rounding alone would leave it {words.decibels(floor)}"
    total, worst = op.sqnr_db, op.worst_batch_sqnr_db
    if total is not None and worst is not None and total - worst >= _NOTABLE_DB:
        yield "worst batch", f"number {op.worst_batch}, counted from 0, has {words.decibels(worst)}"


def _others(instances: Iterable[Related], report: Report, limit: int | None) -> str:
    """The other runs of an expression by the module of each, the lowest ratio first, ``limit`` at most."""
    ops = {op.handle: op for op in report.ops}
    listed: list[tuple[float, str]] = []
    for each in instances:
        op = ops.get(each.handle or 0)
        ratio = math.inf if op is None or op.sqnr_db is None else op.sqnr_db
        known = op is not None and op.module and op.sqnr_db is not None
        listed.append(
            (ratio, f"{op.module} {words.decibels(ratio)}" if op and known else each.message)
        )
    texts = [clean(text) for _, text in sorted(listed, key=lambda each: each[0])]
    if limit is not None and len(texts) > limit:
        texts[limit:] = ["…"]
    return f"{len(listed)} more here: {', '.join(texts)}"


def _at(related: Related, view: View) -> str:
    return f" ({view.place(related.span)})" if related.span else ""


def _detail(error: Failure) -> Iterable[Text]:
    for line in error.traceback.splitlines():
        yield Text(f"  {clean(line)}", "dim")
