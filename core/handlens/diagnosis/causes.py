"""Why an op loses accuracy and what to do about it, in words.

A cause is two lines: the first says why, with the numbers that show it, the second what helps. It is
empty unless what was measured leaves no doubt, for a wrong cause sends people the wrong way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from handlens.report import Channels, OpReport, Quantizer

MOST = 0.5
"""The share of an op's own noise from which on its source is *the* cause."""

# A channel that reaches this much further than the median one takes three bits from most channels.
_SPREAD = 8.0
# A quantizer that reaches this much further than the values takes two bits from all of them.
_TOO_WIDE = 4.0
# Where the largest value is this many times the rms, at most 1.6 % of the values come half as far:
# were it more, their squares alone would be more than the mean square.
_CREST = 16.0
# An introduced SQNR from which on a scale is not what is wrong.
_FINE_DB = 30.0
# How far, in dB, a measurement may be from the noise floor and still be rounding.
_NEAR_DB = 3.0
_NEAR_HALF_DB = 6.0
# The smallest scale that torch's observers give: a range below 255 times that is not calibration's fault.
_SMALLEST_SCALE = 2.0**-12
_FEW_LEVELS = 16

_FLOAT16_MAX = 65504.0
# From here on float16 rounds to infinity.
_FLOAT16_OVERFLOW = 65520.0
_FLOAT16_NORMAL = 2.0**-14
_HALF = {"float16": 11, "bfloat16": 8}

# Ops that make Inf or NaN of a zero.
_BREAK_AT_ZERO = {"div", "div_", "reciprocal", "rsqrt", "log", "log2", "log10"}


def loss(op: OpReport) -> str:
    """Why an op introduces noise."""
    if op.introduced_verdict != "ok" or op.weight_share is None:
        return ""
    if op.clipping_share >= MOST:
        return clipping(op)
    outputs = _of(op, "output")
    # In half precision the weight is cast as the output is, and has no quantizer of its own.
    if op.weight_share >= MOST and len(outputs) < len(op.quantizers):
        return _weight(op)
    if not outputs:
        return ""
    if outputs[0].dtype in _HALF:
        return _half_precision(op, outputs[0]) or _excess(op, _NEAR_HALF_DB)
    coarsest = max(outputs, key=lambda each: each.scale[1] if each.scale else 0.0)
    return (
        _quiet_channels(op, coarsest)
        or _too_wide(op, coarsest)
        or _outliers(op, coarsest)
        or _few_bits(op, coarsest)
        or _excess(op, _NEAR_DB)
    )


def lost_write(missing: Sequence[OpReport]) -> str:
    """What is wrong with an op that writes in place what ``missing`` do not see."""
    if not missing:
        return ""
    names = ", ".join(dict.fromkeys(each.name for each in missing))
    return _cause(
        f"what it writes in place is lost: the quantized graph gives each reader a copy of its own, and "
        f"{names} after it {'reads' if len(missing) == 1 else 'read'} another one",
        "compute a new value instead of writing in place",
    )


def clipping(op: OpReport) -> str:
    """Why an op clips, and how much of its noise that is."""
    values = f"{_percent(op.saturated)} of its values"
    ends = next((ends for each in _of(op, "output") if (ends := _ends(each)) is not None), None)
    low, high = op.reference_range
    if ends is None or low is None or high is None:
        why = f"{values} lie outside its quantizer's range"
    else:
        above = high - ends[1] >= ends[0] - low
        reach = f"up to {_number(high)}" if above else f"down to {_number(low)}"
        why = f"{values}, {reach}, lie outside its quantizer's range of {_interval(*ends)}"
    return _cause(
        f"{why}; clipping them is {_share(op.clipping_share)} of what it loses",
        "calibrate with inputs as large as those the model meets, or use an observer that covers them",
    )


def non_finite(op: OpReport, by_handle: Mapping[int, OpReport]) -> str:
    """Why an op gives NaN or Inf where the reference does not."""
    largest = _largest(op)
    if any(each.dtype == "float16" for each in _of(op, "output")) and largest >= _FLOAT16_OVERFLOW:
        return _cause(
            f"its values reach {_number(largest)}, and float16 ends at {_FLOAT16_MAX:.0f}",
            "keep the op in float32, use bfloat16, or scale its values down",
        )
    source = by_handle.get(op.inputs[-1]) if op.inputs else None
    lost = _rounded_away(source) if source is not None and op.name in _BREAK_AT_ZERO else ""
    if not lost or source is None:
        return ""
    return _cause(
        f"{lost}{_step(source)}",
        f"add an epsilon that is not rounded away, clamp from below, or keep {source.name} in float",
    )


def _rounded_away(source: OpReport) -> str:
    """Whether an op that is read has zeros where its reference has none."""
    if source.vanished:
        return (
            f"{_percent(source.vanished)} of the nonzero values of {source.name}, which it reads, "
            "are zero in the quantized model"
        )
    low, actual_low = source.reference_range[0], source.actual_range[0]
    if low is None or actual_low is None or not actual_low <= 0 < low:
        return ""
    return (
        f"{source.name}, which it reads, is nowhere below {_number(low)}, "
        f"and {_number(actual_low)} in the quantized model"
    )


# -- before the output is quantized ----------------------------------------------------------------


def _weight(op: OpReport) -> str:
    weights, inputs = _of(op, "weight"), _of(op, "input")
    share = _share(op.weight_share or 0.0)
    if inputs and inputs[0].granularity == "per-token":
        return _cause(
            f"its weight and its input, both quantized, account for {share} of what it loses",
            "quantize the weight alone, or keep the op in float",
        )
    if inputs and weights:
        return _cause(
            f"its weight and the model's input, both quantized, account for {share} of what it loses",
            "keep the op, or the input, in float; a wider range of its output changes nothing",
        )
    if inputs:
        return _cause(
            f"the model's input ({_kind(inputs[0])}) accounts for {share} of what it loses",
            "keep the input in float, or give it more bits",
        )
    if len(weights) != 1:
        return ""
    (weight,) = weights
    spread = _spread(op, weight)
    if spread is not None:
        return _cause(
            f"{_channel(spread)}: one scale for the whole weight is too coarse for most of it",
            "quantize the weight per channel",
        )
    return _cause(
        f"its weight ({_kind(weight)}) accounts for {share} of what it loses",
        _FINER.get(weight.granularity, "")
        + "keep the op in float; other calibration inputs change nothing here",
    )


_FINER = {
    "per-tensor": "give the weight more bits, or ",
    "per-channel": "give the weight more bits or a scale for each group, or ",
    "per-group": "give the weight more bits or smaller groups, or ",
}


# -- an output in integers -------------------------------------------------------------------------


def _quiet_channels(op: OpReport, output: Quantizer) -> str:
    """One channel sets the scale, and is so loud that the others have few steps of it."""
    spread, ends = _spread(op, output), _ends(output)
    if spread is None or ends is None or output.scale is None:
        return ""
    levels, (scale, _) = _levels(output), output.scale
    sides = 2 if (op.reference_range[0] or 0.0) < -scale / 2 else 1
    steps = math.ceil(sides * spread.median_magnitude / scale)
    reach = max(map(abs, ends))
    # Where the range was not made for the loud channel, something else made it wide.
    if spread.widest_magnitude < reach / 2 or steps > levels / _SPREAD:
        return ""
    return _cause(
        f"{_channel(spread)}, and one scale for all {spread.count} leaves the median channel "
        f"{steps} of {levels} steps",
        "move that channel's size into the next weight (cross-layer equalization), clamp it (relu6), "
        "or keep the op in float",
    )


def _too_wide(op: OpReport, output: Quantizer) -> str:
    """Calibration has seen values that are not there."""
    ends, (low, high) = _ends(output), op.reference_range
    if ends is None or low is None or high is None or output.scale is None:
        return ""
    used = max(high, 0.0) - min(low, 0.0)
    if output.scale[0] <= _SMALLEST_SCALE or ends[1] - ends[0] < _TOO_WIDE * used:
        return ""
    steps = math.ceil(used / output.scale[0])
    return _cause(
        f"its quantizer's range is {_interval(*ends)} and its values are {_interval(low, high)}: "
        f"they use {steps} of {_levels(output)} steps",
        "calibrate with inputs like those the model meets; if it shares its scale with larger values, "
        "as the inputs of a cat do, keep one of them in float",
    )


def _outliers(op: OpReport, output: Quantizer) -> str:
    """A few values set the scale for all others."""
    largest = _largest(op)
    if not op.reference_rms or largest < _CREST * op.reference_rms or output.scale is None:
        return ""
    if not _near_floor(op, _NEAR_DB) or (op.introduced_sqnr_db or 0.0) >= _FINE_DB:
        return ""
    return _cause(
        f"a few values reach {_number(largest)} where the rms is {_number(op.reference_rms)}: "
        f"steps of {_number(output.scale[1])} cover them and are too coarse for the others",
        "clamp the few in the model, or use an observer that cuts them off",
    )


def _few_bits(op: OpReport, output: Quantizer) -> str:
    levels = _levels(output)
    if not levels or levels > _FEW_LEVELS or not _near_floor(op, _NEAR_DB):
        return ""
    return _cause(
        f"its output has {levels} steps, and rounding to them gives {op.floor_sqnr_db:.1f} dB at best",
        "give the output more bits, or keep the op in float",
    )


# -- an output in half precision -------------------------------------------------------------------


def _half_precision(op: OpReport, output: Quantizer) -> str:
    rms = op.reference_rms
    if output.dtype == "float16" and rms and rms < _FLOAT16_NORMAL:
        lost = f", and {_percent(op.vanished)} of them become zero" if op.vanished else ""
        return _cause(
            f"its values, of rms {_number(rms)}, are too small for float16, which has fewer bits "
            f"below {_number(_FLOAT16_NORMAL)}{lost}",
            "scale the values up, use bfloat16, or keep the op in float32",
        )
    if output.dtype != "bfloat16" or not _near_floor(op, _NEAR_HALF_DB):
        return ""
    fits = rms is not None and rms > _FLOAT16_NORMAL and _largest(op) < _FLOAT16_MAX
    return _cause(
        f"bfloat16 has {_HALF['bfloat16']} significant bits, which is {op.floor_sqnr_db:.1f} dB "
        "for any values",
        f"keep the op in float32{', or use float16: it has three bits more' if fits else ''}",
    )


# -- the noise floor -------------------------------------------------------------------------------


def _near_floor(op: OpReport, tolerance_db: float) -> bool:
    floor, introduced = op.floor_sqnr_db, op.introduced_sqnr_db
    return floor is not None and introduced is not None and abs(floor - introduced) <= tolerance_db


def _excess(op: OpReport, tolerance_db: float) -> str:
    """How much worse than rounding it is, without a word on why."""
    floor, introduced = op.floor_sqnr_db, op.introduced_sqnr_db
    if floor is None or introduced is None or floor - introduced <= tolerance_db:
        return ""
    # What a weight or an input of the model should cost is an estimate, of inputs that are not related.
    if any(each.role != "output" for each in op.quantizers):
        return ""
    return f"it loses {floor - introduced:.1f} dB more than rounding its output must"


# -- in words --------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    """A share from 0 to 1 as people write it."""
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.3g} %"


def _cause(why: str, what: str) -> str:
    return f"{why}\n{what}"


def _share(share: float) -> str:
    # Noises that cancel make one of them more than their sum.
    return "all" if share >= 0.995 else f"{100 * share:.0f} %"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _interval(low: float, high: float) -> str:
    return f"{_number(low)} to {_number(high)}"


def _kind(quantizer: Quantizer) -> str:
    levels = _levels(quantizer)
    bits = f"{math.ceil(math.log2(levels))} bits" if levels else quantizer.dtype
    scales = quantizer.granularity.replace("per-", "per ")
    return bits if quantizer.granularity == "per-value" else f"{bits}, one scale {scales}"


def _channel(channels: Channels) -> str:
    weight = " of its weight" if channels.role == "weight" else ""
    return (
        f"channel {channels.widest}{weight} reaches {_number(channels.widest_magnitude)}, "
        f"the median channel {_number(channels.median_magnitude)}"
    )


def _step(op: OpReport) -> str:
    scales = [each.scale[1] for each in _of(op, "output") if each.scale is not None]
    return f", in steps of {_number(max(scales))}" if scales else ""


# -- what the numbers say --------------------------------------------------------------------------


def _of(op: OpReport, role: str) -> list[Quantizer]:
    return [each for each in op.quantizers if each.role == role]


def _largest(op: OpReport) -> float:
    return max((abs(end) for end in op.reference_range if end is not None), default=0.0)


def _spread(op: OpReport, quantizer: Quantizer) -> Channels | None:
    """The channels that share the scale of a quantizer, if one is far louder than most."""
    for each in op.channels:
        if each.role == quantizer.role and quantizer.granularity == "per-tensor":
            loud = each.widest_magnitude >= _SPREAD * each.median_magnitude
            return each if loud and each.median_magnitude > 0 else None
    return None


def _levels(quantizer: Quantizer) -> int:
    """How many values a quantizer can tell apart; 0 where that is not known."""
    if quantizer.quant_min is None or quantizer.quant_max is None:
        return 0
    return quantizer.quant_max - quantizer.quant_min + 1


def _ends(quantizer: Quantizer) -> tuple[float, float] | None:
    """The smallest and the largest value that a quantizer with one fixed scale can tell."""
    if quantizer.granularity != "per-tensor" or not _levels(quantizer):
        return None
    if quantizer.scale is None or quantizer.zero_point is None:
        return None
    assert quantizer.quant_min is not None
    assert quantizer.quant_max is not None
    scale, zero_point = quantizer.scale[0], quantizer.zero_point[0]
    return (quantizer.quant_min - zero_point) * scale, (quantizer.quant_max - zero_point) * scale
