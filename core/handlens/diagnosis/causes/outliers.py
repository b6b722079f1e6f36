"""A few large values set the scale of all others."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import NEAR_FLOOR_DB, Loss
from handlens.diagnosis.ranges import largest
from handlens.report import NO_CAUSE, Cause
from handlens.words import number

# Where the largest value is this many times the rms, at most 1.6 % of the values come half as far:
# were it more, their squares alone would be more than the mean square.
_CREST = 16.0
# An introduced SQNR from which on a scale is not what is wrong.
_FINE_DB = 30.0


def explain(loss: Loss) -> Cause:
    op, output = loss.op, loss.output
    if not op.reference_rms or largest(op) < _CREST * op.reference_rms or output.scale is None:
        return NO_CAUSE
    if not loss.is_rounding(NEAR_FLOOR_DB) or (op.introduced_sqnr_db or 0.0) >= _FINE_DB:
        return NO_CAUSE
    return Cause(
        f"a few values reach {number(largest(op))} where the rms is {number(op.reference_rms)}: "
        f"steps of {number(output.scale[1])} cover them and are too coarse for the others",
    )
