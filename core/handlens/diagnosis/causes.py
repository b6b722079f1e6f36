"""Why an op loses accuracy and what to do about it, in words.

A cause is one line that says why, with the numbers that show it, and a second one on what helps, where it
was seen to help. It is empty unless what was measured leaves no doubt, for a wrong cause sends people the
wrong way.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from handlens.report import Channels, ModelInput, OpReport, Quantizer

MOST = 0.5
"""The share of an op's own noise from which on its source is *the* cause."""

# Where channels lose this much more, each relative to its own signal, than all of them together, it is the
# quiet ones that lose.
_HIDDEN = 8.0
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
# Calibration has seen a value if it came within this part of it: two batches are never quite alike.
_SEEN = 0.9

_FLOAT16_MAX = 65504.0
# From here on float16 rounds to infinity.
_FLOAT16_OVERFLOW = 65520.0
_FLOAT16_NORMAL = 2.0**-14
_HALF = {"float16": 11, "bfloat16": 8}

# Ops that put their inputs beside one another: these get one scale.
_SIDE_BY_SIDE = {"cat", "stack"}
_WEIGHTED = {"conv1d", "conv2d", "conv3d", "linear"}

_KEEP = "keep the op in float"
_CALIBRATE = "calibrate with inputs like those the model meets"


class Neighbours:
    """The ops of a report, by what they read and what reads them."""

    def __init__(self, ops: Iterable[OpReport]) -> None:
        self.by_handle: dict[int, OpReport] = {}
        self._readers: dict[int, list[OpReport]] = defaultdict(list)
        for op in ops:
            self.by_handle[op.handle] = op
            for each in op.inputs:
                self._readers[each].append(op)

    def readers(self, op: OpReport) -> list[OpReport]:
        return self._readers[op.handle]


def loss(op: OpReport, neighbours: Neighbours) -> str:
    """Why an op introduces noise."""
    if op.introduced_verdict != "ok" or op.weight_share is None:
        return ""
    if op.clipping_share >= MOST and not _hides_channels(op):
        return clipping(op)
    if (op.input_share or 0.0) >= MOST:
        return _model_input(op)
    outputs = _of(op, "output")
    # In half precision the weight is cast as the output is, and has no quantizer of its own.
    if op.weight_share >= MOST and len(outputs) < len(op.quantizers):
        return _weight(op)
    if not outputs:
        return ""
    if outputs[0].dtype in _HALF:
        return _half_precision(op, outputs[0])
    coarsest = max(outputs, key=lambda each: each.scale[1] if each.scale else 0.0)
    return (
        _mask(op, coarsest)
        or _beside(op, coarsest, neighbours)
        or _quiet_channels(op, coarsest, neighbours)
        or _too_wide(op, coarsest)
        or _outliers(op, coarsest)
        or _few_bits(op, coarsest)
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


def without_keeping(cause: str) -> str:
    """A cause without the advice to keep the op: that wins little where it is not most of a loss."""
    why, _, what = cause.partition("\n")
    return why if _KEEP in what else cause


def clipping(op: OpReport) -> str:
    """Why an op clips, and how much of its noise that is."""
    output = next((each for each in _of(op, "output") if _ends(each) is not None), None)
    return _clipped("its values", op.saturated, op.clipping_share, op.reference_range, output)


def _clipped(
    whose: str,
    saturated: float,
    share: float,
    values: tuple[float | None, float | None],
    quantizer: Quantizer | None,
) -> str:
    why = f"{_percent(saturated)} of {whose}"
    ends = None if quantizer is None else _ends(quantizer)
    low, high = values
    cost = f"clipping them is {_share(share)} of what it loses"
    if quantizer is None or ends is None or low is None or high is None:
        return f"{why} lie outside its quantizer's range; {cost}"
    above = high - ends[1] >= ends[0] - low
    why += f", {f'up to {_number(high)}' if above else f'down to {_number(low)}'},"
    why += f" lie outside its quantizer's range of {_interval(*ends)}"
    if quantizer.observed is None:
        return f"{why}; {cost}"
    seen = quantizer.observed[1 if above else 0]
    furthest = high if above else low
    if abs(seen) >= _SEEN * abs(furthest) and (seen < 0) == (furthest < 0):
        return (
            f"{why}, where calibration has seen {_number(seen)}: its observer cuts them off; {cost}"
        )
    return _cause(
        f"{why}, and calibration has seen no more than {_number(seen)}; {cost}", _CALIBRATE
    )


def non_finite(op: OpReport, neighbours: Neighbours) -> str:
    """Why an op gives NaN or Inf where the reference does not."""
    largest = _largest(op)
    if any(each.dtype == "float16" for each in _of(op, "output")) and largest >= _FLOAT16_OVERFLOW:
        return _cause(
            f"its values reach {_number(largest)}, and float16 ends at {_FLOAT16_MAX:.0f}",
            "use bfloat16" if op.masked else "use bfloat16, or scale its values down",
        )
    source = None if op.divisor is None else neighbours.by_handle.get(op.divisor)
    lost = _rounded_away(source) if source is not None else ""
    if not lost or source is None:
        return ""
    return _cause(
        f"{lost}{_step(source)}", "add an epsilon that is not rounded away, or clamp from below"
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


def _hides_channels(op: OpReport) -> bool:
    """Whether an op loses most in channels that are too quiet to show in its ratio."""
    if op.introduced_channel_noise is None or op.introduced_sqnr_db is None:
        return False
    return op.introduced_channel_noise > _HIDDEN * 10 ** (-op.introduced_sqnr_db / 10)


# -- before the output is quantized ----------------------------------------------------------------


def _model_input(op: OpReport) -> str:
    """An input of the model, as it is quantized, is most of what an op loses."""
    worst = min(
        op.model_inputs, key=lambda each: math.inf if each.sqnr_db is None else each.sqnr_db
    )
    quantizer, values = worst.quantizer, f"the values of the model's input {worst.name}"
    if worst.clipping_share >= MOST:
        share = worst.clipping_share * (op.input_share or 0.0)
        return _clipped(values, worst.saturated, share, worst.reference_range, quantizer)
    return _wide_input(worst) or _cause(
        f"the model's input {worst.name} ({_kind(quantizer)}) accounts for "
        f"{_share(op.input_share or 0.0)} of what it loses",
        _KEEP,
    )


def _wide_input(given: ModelInput) -> str:
    steps = _steps_used(given.quantizer, given.reference_range)
    ends, (low, high) = _ends(given.quantizer), given.reference_range
    if steps is None or ends is None or low is None or high is None:
        return ""
    return _cause(
        f"the quantizer of the model's input {given.name} has a range of {_interval(*ends)}, and its "
        f"values are {_interval(low, high)}: they use {steps} of {_levels(given.quantizer)} steps",
        _CALIBRATE,
    )


def _weight(op: OpReport) -> str:
    weights, inputs = _of(op, "weight"), _of(op, "input")
    share = _share(op.weight_share or 0.0)
    if inputs and inputs[0].granularity == "per-token":
        return _cause(
            f"its weight and its input, both quantized, account for {share} of what it loses", _KEEP
        )
    if op.input_share is not None:
        own = (op.weight_share or 0.0) - op.input_share
        if own < MOST:
            return _cause(
                f"its weight and the model's input, both quantized, account for {share} of what it loses",
                _KEEP,
            )
        share = _share(own)
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
        f"its weight ({_scales(op, weight)}) accounts for {share} of what it loses", _KEEP
    )


def _scales(op: OpReport, weight: Quantizer) -> str:
    """How a weight is quantized. That of a transposed convolution has its input channels first."""
    kind = _kind(weight)
    if op.name.startswith("conv_transpose") and weight.axis is not None:
        return kind.replace("channel", "input channel" if weight.axis == 0 else "output channel")
    return kind


# -- an output in integers -------------------------------------------------------------------------


def _mask(op: OpReport, output: Quantizer) -> str:
    """What a mask takes out of a softmax sets the scale for all that it leaves in."""
    steps = _steps_used(output, op.reference_range)
    low, high = op.reference_range
    if not op.masked or op.masked_min is None or steps is None or low is None or high is None:
        return ""
    return _cause(
        f"its masked values reach {_number(op.masked_min)} and set the scale: the others, "
        f"{_interval(low, high)}, use {steps} of {_levels(output)} steps",
        _KEEP,
    )


def _beside(op: OpReport, output: Quantizer, neighbours: Neighbours) -> str:
    """An op shares its scale with louder ones that it is put beside."""
    steps, (low, high) = _steps_used(output, op.reference_range), op.reference_range
    if steps is None or low is None or high is None:
        return ""
    for reader in neighbours.readers(op):
        shared = any(_same_scale(each, output) for each in _of(reader, "output"))
        others = [neighbours.by_handle.get(each) for each in reader.inputs if each != op.handle]
        loudest = max((each for each in others if each is not None), key=_largest, default=None)
        if reader.name in _SIDE_BY_SIDE and shared and loudest is not None:
            if _largest(loudest) < _TOO_WIDE * _largest(op):
                continue
            place = f" at line {reader.span.line}" if reader.span else ""
            return _cause(
                f"the {reader.name}{place} gives it one scale with {_place(loudest)}, which reaches "
                f"{_number(_largest(loudest))}: its own values, {_interval(low, high)}, use "
                f"{steps} of {_levels(output)} steps",
                f"keep the {reader.name} in float",
            )
    return ""


def _quiet_channels(op: OpReport, output: Quantizer, neighbours: Neighbours) -> str:
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
    readers = neighbours.readers(op)
    weighted = bool(readers) and all(each.name in _WEIGHTED for each in readers)
    return _cause(
        f"{_channel(spread)}, and one scale for all {spread.count} leaves the median channel "
        f"{steps} of {levels} steps",
        "move that channel's size into the next weight (cross-layer equalization), or " + _KEEP
        if weighted
        else _KEEP,
    )


def _too_wide(op: OpReport, output: Quantizer) -> str:
    """Calibration has seen values that are not there."""
    steps = _steps_used(output, op.reference_range)
    ends, (low, high) = _ends(output), op.reference_range
    if steps is None or ends is None or low is None or high is None:
        return ""
    why = (
        f"its quantizer's range is {_interval(*ends)} and its values are {_interval(low, high)}: "
        f"they use {steps} of {_levels(output)} steps"
    )
    seen = output.observed
    if seen is None or max(map(abs, seen)) < _TOO_WIDE / 2 * max(abs(low), abs(high)):
        return why
    return _cause(f"{why}; calibration has seen {_interval(*seen)}", _CALIBRATE)


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
        _KEEP,
    )


def _few_bits(op: OpReport, output: Quantizer) -> str:
    levels = _levels(output)
    if not levels or levels > _FEW_LEVELS or not _near_floor(op, _NEAR_DB):
        return ""
    return _cause(
        f"its output has {levels} steps, and rounding to them gives {op.floor_sqnr_db:.1f} dB at best",
        _KEEP,
    )


# -- an output in half precision -------------------------------------------------------------------


def _half_precision(op: OpReport, output: Quantizer) -> str:
    rms = op.reference_rms
    if output.dtype == "float16" and rms and rms < _FLOAT16_NORMAL:
        lost = f", and {_percent(op.vanished)} of them become zero" if op.vanished else ""
        return _cause(
            f"its values, of rms {_number(rms)}, are too small for float16, which has fewer bits "
            f"below {_number(_FLOAT16_NORMAL)}{lost}",
            "scale the values up, or use bfloat16",
        )
    if output.dtype != "bfloat16" or not _near_floor(op, _NEAR_HALF_DB):
        return ""
    fits = rms is not None and rms > _FLOAT16_NORMAL and _largest(op) < _FLOAT16_MAX
    return _cause(
        f"bfloat16 has {_HALF['bfloat16']} significant bits, which is {op.floor_sqnr_db:.1f} dB "
        "for any values",
        "use float16, which has three bits more" if fits else "",
    )


def _near_floor(op: OpReport, tolerance_db: float) -> bool:
    floor, introduced = op.floor_sqnr_db, op.introduced_sqnr_db
    return floor is not None and introduced is not None and abs(floor - introduced) <= tolerance_db


# -- in words --------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    """A share from 0 to 1 as people write it."""
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.3g} %"


def _cause(why: str, what: str) -> str:
    return f"{why}\n{what}" if what else why


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


def _place(op: OpReport) -> str:
    return f"{op.name} in {op.module}" if op.module else op.name


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


def _same_scale(one: Quantizer, other: Quantizer) -> bool:
    return (one.scale, one.zero_point, one.quant_min, one.quant_max) == (
        *(other.scale, other.zero_point, other.quant_min, other.quant_max),
    )


def _steps_used(quantizer: Quantizer, values: tuple[float | None, float | None]) -> int | None:
    """How many steps of a quantizer values use that have far less than its range; None if they have not."""
    ends, (low, high) = _ends(quantizer), values
    if ends is None or low is None or high is None or quantizer.scale is None:
        return None
    used = max(high, 0.0) - min(low, 0.0)
    if quantizer.scale[0] <= _SMALLEST_SCALE or ends[1] - ends[0] < _TOO_WIDE * used:
        return None
    return math.ceil(used / quantizer.scale[0])


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
