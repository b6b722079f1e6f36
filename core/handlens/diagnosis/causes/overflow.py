"""The values of an op are beyond float16."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.ranges import largest
from handlens.report import NO_CAUSE, Cause
from handlens.words import number


def explain(loss: Loss) -> Cause:
    op = loss.op
    formats = [each.format for each in op.quantizers_of("output") if each.dtype == "float16"]
    float16 = next((each for each in formats if each is not None), None)
    if float16 is None or largest(op) < float16.overflow:
        return NO_CAUSE
    return Cause(
        f"its values reach {number(largest(op))}, and float16 ends at {float16.largest:.0f}",
        "use bfloat16" if op.masked else "use bfloat16, or scale its values down",
    )
