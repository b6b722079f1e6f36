"""An op divides by values that are rounded to zero."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.report import NO_CAUSE, Cause, OpReport
from handlens.words import number, percent


def explain(loss: Loss) -> Cause:
    divisor = loss.op.divisor
    source = None if divisor is None else loss.neighbours.by_handle.get(divisor)
    if source is None or not (zeros := _zeros(source)):
        return NO_CAUSE
    return Cause(
        f"{zeros}{_step(source)}", "add an epsilon that is not rounded away, or clamp from below"
    )


def _zeros(source: OpReport) -> str:
    """The zeros of a divisor that its reference does not have, in words; empty if there are none."""
    if source.vanished:
        return (
            f"{percent(source.vanished)} of the nonzero values of {source.name}, which it reads, "
            "are zero in the quantized model"
        )
    low, actual_low = source.reference_range[0], source.actual_range[0]
    if low is None or actual_low is None or not actual_low <= 0 < low:
        return ""
    return (
        f"{source.name}, which it reads, is nowhere below {number(low)}, "
        f"and {number(actual_low)} in the quantized model"
    )


def _step(op: OpReport) -> str:
    scales = [each.scale[1] for each in op.quantizers_of("output") if each.scale is not None]
    return f", in steps of {number(max(scales))}" if scales else ""
