"""An op loses by its weight and by its input together, and by neither most."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import MOST, Loss
from handlens.report import NO_CAUSE, Cause
from handlens.words import portion


def explain(loss: Loss) -> Cause:
    share = portion(loss.op.weight_share or 0.0)
    inputs = loss.op.quantizers_of("input")
    if inputs and inputs[0].granularity == "per-token":
        input_ = "its input"
    elif loss.op.input_share is not None and loss.own_weight_share < MOST:
        input_ = "the model's input"
    else:
        return NO_CAUSE
    return Cause(f"its weight and {input_}, both quantized, account for {share} of what it loses")
