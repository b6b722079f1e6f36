"""The output of an op has few steps, and rounding to them costs that much."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import NEAR_FLOOR_DB, Loss
from handlens.diagnosis.ranges import levels
from handlens.report import NO_CAUSE, Cause

_FEW = 16


def explain(loss: Loss) -> Cause:
    steps = levels(loss.output)
    if not steps or steps > _FEW or not loss.is_rounding(NEAR_FLOOR_DB):
        return NO_CAUSE
    floor = loss.op.floor_sqnr_db
    return Cause(f"its output has {steps} steps, and rounding to them gives {floor:.1f} dB at best")
