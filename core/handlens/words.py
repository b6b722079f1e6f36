"""What a run came to, in words: ratios, verdicts, what was verified; the same wherever they are read."""

from __future__ import annotations

from handlens.report import (
    OpReport,
    OutputAccuracy,
    Report,
    Severity,
    Verdict,
    Verification,
    op_name,
)

_SHORT: dict[Verdict, str] = {
    "exact": "exact",
    "no-signal": "no signal",
    "non-finite": "NaN or Inf",
    "not-compared": "not compared",
}
_EXPLAINED = _SHORT | {
    "no-signal": "no signal: the reference is zero",
    "non-finite": "NaN or Inf where the reference is finite",
}
_LEVELS: dict[str, Severity] = {"differs": "error", "not-checked": "warning"}


def decibels(ratio: float) -> str:
    """``12.3 dB``, and never a negative zero."""
    return f"{round(ratio, 1) + 0.0:.1f} dB"


def percent(share: float) -> str:
    """A share from 0 to 1 as people write it."""
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.3g} %"


def ratio(verdict: Verdict, sqnr_db: float | None) -> str:
    """A ratio, or in a word or two why there is none."""
    return _ratio(_SHORT, verdict, sqnr_db)


def accumulated(op: OpReport) -> str:
    """How accurate the quantized model is at an op: what is left in float is never called exact."""
    if op.in_float and op.verdict == "exact":
        return "no noise"
    return _ratio(_EXPLAINED, op.verdict, op.sqnr_db)


def introduced(op: OpReport) -> str:
    """What an op loses by itself, and of an op that is left in float that it is not quantized."""
    if op.in_float and op.introduced_verdict == "exact":
        return "not quantized"
    return _ratio(_EXPLAINED, op.introduced_verdict, op.introduced_sqnr_db)


def in_float(op: OpReport) -> str:
    """How far an op is left in float, and why; empty for one that is quantized."""
    if not op.in_float:
        return ""
    rounded = any(each.role == "output" for each in op.quantizers)
    left = "computes in float, its output alone is quantized" if rounded else "not quantized"
    return f"{left}: {op.in_float}"


def output(accuracy: OutputAccuracy) -> str:
    """The accuracy of a model's output, or a sentence on why there is none."""
    if accuracy.verdict == "exact":
        return "exactly the reference"
    if accuracy.verdict == "not-compared":
        return f"not compared: {accuracy.reason}"
    if accuracy.verdict == "no-signal":
        too = "and not in the quantized model" if accuracy.mse else "and in the quantized model"
        return f"all zero in the reference, {too}"
    return _ratio(_EXPLAINED, accuracy.verdict, accuracy.sqnr_db)


def _ratio(words: dict[Verdict, str], verdict: Verdict, sqnr_db: float | None) -> str:
    return words.get(verdict, "not measured") if sqnr_db is None else decibels(sqnr_db)


# -- what the result was checked against -----------------------------------------------------------


def verified(verification: Verification) -> str:
    """What the reference was checked against, and how that went."""
    sqnr_db = verification.sqnr_db
    measured = "" if sqnr_db is None else f" ({round(sqnr_db) + 0.0:.0f} dB)"
    if verification.verdict == "exact":
        return "reference = model, to the bit"
    if verification.verdict == "ok":
        return f"reference = model{measured}"
    if verification.verdict == "differs":
        return f"the reference is not the model{measured}"
    return f"not against the model: {verification.reason}"


def level(verification: Verification) -> Severity | None:
    """How grave that is; None where all is well."""
    return _LEVELS.get(verification.verdict)


def way(verification: Verification) -> str:
    """How the ops were compared, where it is not the usual way."""
    if verification.comparison == "plain":
        return "compared op by op without shortcuts, which did not give the same bits"
    if verification.comparison == "outputs":
        return "outputs alone: the ops cannot be compared as they run by themselves"
    return ""


def beginning(report: Report) -> str:
    """Where the graph that is quantized begins to compute something else than the model, as a sentence."""
    begins = report.verified.difference if report.verified else None
    if begins is None:
        return ""
    exported = begins.by == "export"
    graph = "the exported graph" if exported else f"the graph that recipe {report.recipe} quantizes"
    if not begins.op:
        return f"{graph[0].upper()}{graph[1:]} computes something else; where that begins is not known."
    place = f" in {begins.module}" if begins.module else ""
    measured = "" if begins.sqnr_db is None else f" ({decibels(begins.sqnr_db)})"
    return f"From {op_name(begins.op)}{place} on, {graph} computes something else{measured}."
