"""One scale for a whole weight follows its loudest channel."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.phrases import loudest_channel
from handlens.diagnosis.ranges import loud_channel
from handlens.report import NO_CAUSE, Cause


def explain(loss: Loss) -> Cause:
    weights = loss.op.quantizers_of("weight")
    channels = loud_channel(loss.op, weights[0]) if len(weights) == 1 else None
    if channels is None:
        return NO_CAUSE
    return Cause(
        f"{loudest_channel(channels)}: one scale for the whole weight is too coarse for most of it",
        "quantize the weight per channel",
    )
