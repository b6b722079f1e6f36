"""From the measurements of a report to its findings.

Findings follow from what was measured, so that other thresholds or suppressions need no other run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby

from handlens.diagnosis.rules import IN_ORDER
from handlens.diagnosis.rules.rule import Measured
from handlens.diagnosis.suppressions import suppress
from handlens.diagnosis.thresholds import ChosenThresholds, thresholds_in_force
from handlens.report import Finding, Report, Span
from handlens.targets import discover


def judge(
    report: Report,
    chosen: Iterable[ChosenThresholds],
    texts: Mapping[str, str],
    declaration: Span,
) -> Report:
    """The report with its findings made anew. The report of a run that failed stays as it is.

    Args:
        chosen: Thresholds that override those that suit the recipe, each those before it.
        texts: By file, the text with its suppressions.
        declaration: Where a finding about the target as a whole is shown. A suppression of nothing is a
            finding in that file, if it declares no other target.
    """
    if report.coverage is None:
        return report
    thresholds = thresholds_in_force(report, chosen)
    measured = Measured(report, report.coverage, thresholds, declaration)
    remaining, suppressed = suppress(
        _findings(measured), texts, _decided_alone(texts, declaration.file)
    )
    return replace(report, findings=tuple(remaining), suppressed=suppressed)


def _decided_alone(texts: Mapping[str, str], file: str) -> list[str]:
    """The files in which this target alone decides whether a suppression is used."""
    try:
        alone = len(discover(texts.get(file, ""), file)) == 1
    except (SyntaxError, ValueError):
        # A target that cannot be found now may have use for it.
        return []
    return [file] if alone else []


def _findings(measured: Measured) -> Iterator[Finding]:
    order = {op.handle: index for index, op in enumerate(measured.report.ops)}
    for by_op, rules in groupby(IN_ORDER, key=lambda rule: rule.is_in_order_of_ops):
        found = [finding for rule in rules for finding in rule.find(measured)]
        yield from sorted(found, key=lambda each: order[each.handle or 0]) if by_op else found
