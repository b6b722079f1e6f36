"""What a mask takes out of a softmax sets the scale of all that it leaves in."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.ranges import levels, steps_used
from handlens.report import NO_CAUSE, Cause
from handlens.words import interval, number


def explain(loss: Loss) -> Cause:
    op, output = loss.op, loss.output
    steps = steps_used(output, op.reference_range)
    low, high = op.reference_range
    if not op.masked or op.masked_min is None or steps is None or low is None or high is None:
        return NO_CAUSE
    return Cause(
        f"its masked values reach {number(op.masked_min)} and set the scale: the others, "
        f"{interval(low, high)}, use {steps} of {levels(output)} steps",
    )
