"""The range of an output's quantizer is far wider than the values."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.phrases import CALIBRATE
from handlens.diagnosis.ranges import FAR_WIDER, ends, levels, steps_used
from handlens.report import NO_CAUSE, Cause
from handlens.words import interval


def explain(loss: Loss) -> Cause:
    op, output = loss.op, loss.output
    steps = steps_used(output, op.reference_range)
    reach, (low, high) = ends(output), op.reference_range
    if steps is None or reach is None or low is None or high is None:
        return NO_CAUSE
    why = (
        f"its quantizer's range is {interval(*reach)} and its values are {interval(low, high)}: "
        f"they use {steps} of {levels(output)} steps"
    )
    seen = output.observed
    if seen is None or max(map(abs, seen)) < FAR_WIDER / 2 * max(abs(low), abs(high)):
        return Cause(why)
    return Cause(f"{why}; calibration has seen {interval(*seen)}", CALIBRATE)
