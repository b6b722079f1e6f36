"""Values are so small that float16 has fewer bits for them."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.report import NO_CAUSE, Cause
from handlens.words import number, percent


def explain(loss: Loss) -> Cause:
    op, output = loss.op, loss.output
    rms = op.reference_rms
    if output.format is None or output.dtype != "float16" or not rms:
        return NO_CAUSE
    smallest = output.format.smallest_normal
    if rms >= smallest:
        return NO_CAUSE
    lost = f", and {percent(op.vanished)} of them become zero" if op.vanished else ""
    return Cause(
        f"its values, of rms {number(rms)}, are too small for float16, which has fewer bits "
        f"below {number(smallest)}{lost}",
        "scale the values up, or use bfloat16",
    )
