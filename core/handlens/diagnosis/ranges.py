"""What a quantizer can represent, and how much of that the values of a tensor use."""

from __future__ import annotations

import math

from handlens.report import Channels, OpReport, Quantizer

FAR_WIDER = 4.0
"""A range that is this many times as wide as its values takes two bits from all of them."""

FAR_LOUDER = 8.0
"""A channel that reaches this many times as far as the median one takes three bits from most channels."""

# The smallest scale that torch's observers give: a range below 255 times that is not calibration's fault.
_SMALLEST_SCALE = 2.0**-12


def levels(quantizer: Quantizer) -> int:
    """How many values a quantizer can tell apart; 0 where that is not known."""
    if quantizer.quant_min is None or quantizer.quant_max is None:
        return 0
    return quantizer.quant_max - quantizer.quant_min + 1


def ends(quantizer: Quantizer) -> tuple[float, float] | None:
    """The smallest and the largest value of a quantizer; None unless it has one fixed scale."""
    if quantizer.granularity != "per-tensor" or not levels(quantizer):
        return None
    if quantizer.scale is None or quantizer.zero_point is None:
        return None
    assert quantizer.quant_min is not None
    assert quantizer.quant_max is not None
    scale, zero_point = quantizer.scale[0], quantizer.zero_point[0]
    return (quantizer.quant_min - zero_point) * scale, (quantizer.quant_max - zero_point) * scale


def steps_used(quantizer: Quantizer, values: tuple[float | None, float | None]) -> int | None:
    """How many steps of a far wider quantizer the values use; None if its range is not far wider."""
    reach, (low, high) = ends(quantizer), values
    if reach is None or low is None or high is None or quantizer.scale is None:
        return None
    used = max(high, 0.0) - min(low, 0.0)
    if quantizer.scale[0] <= _SMALLEST_SCALE or reach[1] - reach[0] < FAR_WIDER * used:
        return None
    return math.ceil(used / quantizer.scale[0])


def largest(op: OpReport) -> float:
    """The largest magnitude of an op's reference values."""
    return max((abs(end) for end in op.reference_range if end is not None), default=0.0)


def loud_channel(op: OpReport, quantizer: Quantizer) -> Channels | None:
    """The channels that share the one scale of a quantizer, if one of them is far louder than most."""
    for each in op.channels:
        if each.role == quantizer.role and quantizer.granularity == "per-tensor":
            loud = each.widest_magnitude >= FAR_LOUDER * each.median_magnitude
            return each if loud and each.median_magnitude > 0 else None
    return None


def same_scale(one: Quantizer, other: Quantizer) -> bool:
    """True if both quantizers map values to the same integers."""
    return (one.scale, one.zero_point, one.quant_min, one.quant_max) == (
        *(other.scale, other.zero_point, other.quant_min, other.quant_max),
    )
