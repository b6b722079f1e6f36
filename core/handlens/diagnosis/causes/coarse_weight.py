"""The weight of an op is most of what the op loses."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.phrases import number_format
from handlens.report import NO_CAUSE, Cause, OpReport, Quantizer
from handlens.words import portion


def explain(loss: Loss) -> Cause:
    weights = loss.op.quantizers_of("weight")
    if len(weights) != 1:
        return NO_CAUSE
    share = portion(loss.own_weight_share)
    return Cause(
        f"its weight ({_format(loss.op, weights[0])}) accounts for {share} of what it loses"
    )


def _format(op: OpReport, weight: Quantizer) -> str:
    """How a weight is quantized. The weight of a transposed convolution has its input channels first."""
    format_ = number_format(weight)
    if op.name.startswith("conv_transpose") and weight.axis is not None:
        channel = "input channel" if weight.axis == 0 else "output channel"
        return format_.replace("channel", channel)
    return format_
