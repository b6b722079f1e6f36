"""The summary below the findings: what was measured in a run, and what was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.text import Text

from handlens import words
from handlens.diagnosis.rules import RULES
from handlens.diagnosis.rules.inherited_error import InheritedError
from handlens.diagnosis.rules.reference_differs import ReferenceDiffers
from handlens.diagnosis.rules.stays_in_float import StaysInFloat
from handlens.rendering.view import SEVERITIES, STYLES, View, clean
from handlens.report import (
    Coverage,
    Finding,
    QuantizedBy,
    Report,
    Verification,
    op_name,
)


def summary(report: Report, view: View, inherited: Counter[int | None]) -> Iterable[Text]:
    """The lines of a summary.

    Args:
        inherited: How many ops inherit the loss of each op, by its handle, as far as no finding above has
            said so.
    """
    title = Text(view.title(report), "bold")
    if report.recipe:
        title.append(f" · recipe {clean(report.recipe)}", "not bold dim")
    yield title
    if report.error:
        rule = RULES.get(report.error.rule)
        name = f" {rule.name}" if rule else ""
        failure = Text(f"{report.error.rule}{name}", STYLES["error"])
        if report.error.traceback and not view.has_detail(report.error):
            failure.append("; --verbose shows the traceback", "not bold default")
        yield row("could not run", failure)
        return
    if report.output:
        output = Text(
            f"{clean(words.output(report.output))}, {words.count(report.batches, 'batch')}"
        )
        if report.falls_short:
            output.append(f" (not the {report.fail_under:g} dB asked for)", STYLES["error"])
        if report.verified and report.verified.actual_sqnr_db is not None:
            against = f" ({words.decibels(report.verified.actual_sqnr_db)} against the model)"
            output.append(against, STYLES["error"])
        output.append(clean(words.beside(report.output)))
        yield row("output", output)
    if report.verified:
        yield from _verified(report.verified)
    if report.coverage:
        yield from _coverage(report.coverage, report.quantized_by)
    for each in report.caveats:
        yield row("caveat", Text(clean(words.caveat(each))))
    label = "inherited"
    for handle, heirs in inherited.items():
        yield row(label, Text(_loss_of(handle, heirs, report, view)))
        label = ""
    found = tally(report.findings)
    if all(finding.severity == "hint" for finding in report.findings):
        found.append_text(_lowest(report, view))
    if report.suppressed:
        found.append(f"; {report.suppressed} suppressed by comments")
    if report.unselected:
        found.append(f"; {report.unselected} not shown (select, ignore)")
    yield row("found", found)
    if report.timings:
        stages = ", ".join(f"{clean(stage)} {time:.1f}" for stage, time in report.timings.items())
        yield row("time", Text(f"{sum(report.timings.values()):.1f} s ({stages})", "dim"))


def row(label: str, value: Text) -> Text:
    """A line of a summary: what it is about, and what is known of that."""
    return Text.assemble((f"  {label:<14}", "dim")).append_text(value)


def _verified(verified: Verification) -> Iterable[Text]:
    """The rows about the check of the reference against the model."""
    level = words.level(verified)
    text = Text(clean(words.verified(verified)), STYLES[level] if level else "")
    if verified.verdict == "differs":
        text.append(f": see {ReferenceDiffers.code}")
    yield row("verified", text)
    if way := words.way(verified):
        yield row("", Text(way))


def _coverage(coverage: Coverage, quantized_by: Sequence[QuantizedBy]) -> Iterable[Text]:
    yield row(
        "compared", Text(words.compared(coverage), "" if coverage.matched else STYLES["warning"])
    )
    quantized = Text(words.count(coverage.quantized, "op"))
    if quantized_by:
        quantized.append(f" by {clean(', '.join(map(str, quantized_by)))}", "dim")
    yield row("quantized", quantized)
    kinds = Counter(clean(op_name(each.op)) for each in coverage.in_float)
    if kinds:
        yield row("left in float", Text(f"{words.counts(kinds)} ({StaysInFloat.code})"))
    reasons = Counter(clean(each.reason) for each in coverage.unmatched)
    label = "not compared"
    for reason, times in reasons.most_common():
        yield row(label, Text(f"{times} {reason}"))
        label = ""


def _loss_of(handle: int | None, heirs: int, report: Report, view: View) -> str:
    for op in report.ops:
        if op.handle == handle:
            place = f" ({view.place(op.span)})" if op.span else ""
            return (
                f"{inheriting(heirs)} the loss of {clean(op.name)}{place} ({InheritedError.code})"
            )
    return (
        f"{words.count(heirs, 'op')} with the sum of small losses upstream ({InheritedError.code})"
    )


def _lowest(report: Report, view: View) -> Text:
    """The op with the lowest ratio: how near a run without findings came to one."""
    measured = [(op.sqnr_db, op) for op in report.ops if op.sqnr_db is not None]
    if not measured:
        return Text()
    lowest, op = min(measured, key=lambda each: each[0])
    place = f" ({view.place(op.span)})" if op.span else ""
    return Text(f"; the lowest is {clean(op.name)} {words.decibels(lowest)}{place}")


def tally(findings: Iterable[Finding]) -> Text:
    """How many findings there are of each severity."""
    counts = Counter(finding.severity for finding in findings)
    parts = [
        Text(
            words.count(counts[severity], severity), STYLES[severity] if severity != "hint" else ""
        )
        for severity in SEVERITIES
        if counts[severity]
    ]
    return Text(", ").join(parts) if parts else Text("nothing", "green")


def inheriting(heirs: int) -> str:
    """The beginning of a sentence about the number of ops that inherit a loss."""
    return "1 op downstream inherits" if heirs == 1 else f"{heirs} ops downstream inherit"
