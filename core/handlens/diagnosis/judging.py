"""The findings of a whole report, which follow from what was measured: other thresholds or other
suppressions need no other run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from handlens.diagnosis import non_finite
from handlens.diagnosis.findings import diagnose
from handlens.diagnosis.suppressions import suppress
from handlens.diagnosis.thresholds import ChosenThresholds, thresholds_in_force
from handlens.report import (
    Coverage,
    Finding,
    OpReport,
    Related,
    Report,
    Span,
    StaysInFloat,
    Thresholds,
    op_name,
)
from handlens.targets import discover


def judge(
    report: Report,
    chosen: Iterable[ChosenThresholds],
    texts: Mapping[str, str],
    declaration: Span,
) -> Report:
    """The report with its findings made anew; one of a run that failed has nothing to judge.

    ``chosen`` are thresholds that take the place of those that suit the recipe, each over those before
    it; ``texts`` have the suppressions, by file. ``declaration`` is where a finding about the target as a
    whole is shown. A suppression of nothing is a finding in that file, if it declares no other target.
    """
    if report.coverage is None:
        return report
    thresholds = thresholds_in_force(report, chosen)
    findings = [
        *_reference_differs(report, declaration),
        *_nothing_quantized(report.recipe, report.coverage, declaration),
        *_not_calibrated(report.ops, declaration),
        *_non_finite_model(report, declaration),
        *diagnose(report.ops, thresholds),
        *_low_output(report, thresholds, declaration),
        *_in_float(report.coverage, declaration),
        *_not_compared(report.coverage, declaration),
    ]
    kept, suppressed = suppress(findings, texts, _decided_alone(texts, declaration.file))
    return replace(report, findings=tuple(kept), suppressed=suppressed)


def _decided_alone(texts: Mapping[str, str], file: str) -> list[str]:
    """The files in which one target alone decides whether a suppression is used."""
    try:
        alone = len(discover(texts.get(file, ""), file)) == 1
    except (SyntaxError, ValueError):
        # A target that cannot be found now may have use for it.
        return []
    return [file] if alone else []


def _reference_differs(report: Report, declaration: Span) -> Iterator[Finding]:
    verified = report.verified
    if verified is None or verified.difference is None:
        return
    begins = verified.difference
    graph = "exported graph" if begins.by == "export" else f"graph that {report.recipe} quantizes"
    output = "" if verified.sqnr_db is None else f" (output {verified.sqnr_db:.1f} dB)"
    if begins.op:
        ratio = "" if begins.sqnr_db is None else f" {begins.sqnr_db:.1f} dB"
        message = f"{op_name(begins.op)}{ratio}: from here on the {graph} is not the model{output}"
        message += f" · {begins.module}" if begins.module else ""
    else:
        message = f"the {graph} computes something else than the model{output}"
    cause = "all other numbers compare the quantized model with that graph, not with the model"
    if verified.actual_sqnr_db is not None:
        cause += f": against the model, its outputs have {verified.actual_sqnr_db:.1f} dB"
    yield Finding("HL204", "error", message, begins.handle, begins.span or declaration, cause=cause)


def _not_calibrated(ops: Sequence[OpReport], declaration: Span) -> Iterator[Finding]:
    """One finding for each line whose quantizers have no range to go by; one for all if none has."""
    lines: dict[object, list[OpReport]] = defaultdict(list)
    for op in ops:
        if op.uncalibrated:
            lines[(op.span.file, op.span.line) if op.span else None].append(op)
    reasons = {op.uncalibrated for op in ops if op.quantizers}
    if len(lines) > 1 and len(reasons) == 1:
        message = f"nothing was calibrated: {reasons.pop()}"
        yield Finding("HL206", "warning", message, None, declaration, cause=_DEFAULTS)
        return
    for first, *others in lines.values():
        message = f"{first.name} is not calibrated: {first.uncalibrated}"
        message += f" · {first.module}" if first.module else ""
        related = tuple(
            Related(f"{each.name} is not calibrated: {each.uncalibrated}", each.span, each.handle)
            for each in others
        )
        span = first.span or declaration
        yield Finding("HL206", "warning", message, first.handle, span, related, _DEFAULTS)


_DEFAULTS = (
    "scales and zero points are what an observer starts with\n"
    "calibrate with inputs like those the model meets"
)


def _non_finite_model(report: Report, declaration: Span) -> Iterator[Finding]:
    if (found := report.non_finite) is not None:
        message, cause, related = non_finite.told(found)
        span = found.span or declaration
        yield Finding("HL208", "warning", message, found.handle, span, related, cause)


def _low_output(report: Report, thresholds: Thresholds, declaration: Span) -> Iterator[Finding]:
    output = report.output
    if output is None:
        return
    if output.verdict == "not-compared":
        message = f"the output was not compared: {output.reason}"
        yield Finding("HL202", "warning", message, None, declaration)
    elif output.verdict == "non-finite":
        message = "the output is NaN or infinite where the reference is finite"
        yield Finding("HL105", "error", message, None, declaration)
    elif output.verdict == "no-signal" and output.mse:
        message = "the output is zero in the reference, and not in the quantized model"
        yield Finding("HL105", "error", message, None, declaration)
    elif output.verdict == "ok" and output.sqnr_db is not None:
        ratio, against = output.sqnr_db, ""
        if (verified := report.verified) and verified.actual_sqnr_db is not None:
            ratio, against = verified.actual_sqnr_db, " against the model"
        if severity := thresholds.severity(ratio):
            message = f"output {round(ratio, 1) + 0.0:.1f} dB{against} with recipe {report.recipe}"
            yield Finding("HL105", severity, message, None, declaration)


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


def _in_float(coverage: Coverage, declaration: Span) -> Iterator[Finding]:
    """One finding for each line that has ops which stay in float."""
    lines: dict[object, list[StaysInFloat]] = defaultdict(list)
    for each in coverage.in_float:
        lines[(each.span.file, each.span.line) if each.span else None].append(each)
    for first, *others in lines.values():
        message = f"{op_name(first.op)} stays in float: {first.reason}"
        message += f" · {first.module}" if first.module else ""
        related = tuple(
            Related(
                f"{op_name(each.op)} stays in float: {each.reason} · {each.module or each.node}",
                each.span,
                each.handle,
            )
            for each in others
        )
        span = first.span or declaration
        yield Finding("HL205", "information", message, first.handle, span, related)


def _not_compared(coverage: Coverage, declaration: Span) -> Iterator[Finding]:
    for each in coverage.unmatched:
        if not each.expected:
            message = f"{op_name(each.op)} was not compared: {each.reason}"
            span = each.span or declaration
            yield Finding("HL202", "information", message, each.handle, span)
