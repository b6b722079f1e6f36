"""The findings of a whole report, which follow from what was measured: other thresholds or other
suppressions need no other run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from handlens.diagnosis.findings import diagnose
from handlens.report import Coverage, Finding, Report, Span, op_name
from handlens.rules import ChosenThresholds, suppress, thresholds_in_force


def judge(
    report: Report,
    chosen: Iterable[ChosenThresholds],
    texts: Mapping[str, str],
    declaration: Span,
    unused_in: Collection[str] = (),
) -> Report:
    """The report with its findings made anew; one of a run that failed has nothing to judge.

    ``chosen`` are thresholds that take the place of those that suit the recipe, each over those before
    it; ``texts`` have the suppressions, by file. ``declaration`` is where a finding about the target as a
    whole is shown. A suppression of nothing is a finding in the files ``unused_in``.
    """
    if report.coverage is None:
        return report
    findings = [
        *_nothing_quantized(report.recipe, report.coverage, declaration),
        *diagnose(report.ops, thresholds_in_force(report.recipe, chosen)),
        *_not_compared(report.coverage, declaration),
    ]
    kept, suppressed = suppress(findings, texts, unused_in)
    return replace(report, findings=tuple(kept), suppressed=suppressed)


def _nothing_quantized(recipe: str, coverage: Coverage, declaration: Span) -> Iterator[Finding]:
    kinds = ", ".join(coverage.unquantized)
    if coverage.quantized == 0:
        message = f"recipe {recipe} quantized nothing, of {coverage.ops} op"
        message += "" if coverage.ops == 1 else "s"
        message += f": no {kinds}" if kinds else ""
    elif kinds:
        message = f"recipe {recipe} quantized no {kinds}, though the model has some"
    else:
        return
    yield Finding("HL201", "warning", message, None, declaration)


def _not_compared(coverage: Coverage, declaration: Span) -> Iterator[Finding]:
    for each in coverage.unmatched:
        if not each.expected:
            message = f"{op_name(each.op)} was not compared: {each.reason}"
            span = each.span or declaration
            yield Finding("HL202", "information", message, each.handle, span)
