"""What is measured at one op, as plain data. Import its classes from ``handlens.report``.

Ratios are in dB, shares from 0 to 1. *Noise* is what the quantized model computes less what the reference
does, *signal* what the reference computes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "exact", "no-signal", "non-finite", "not-compared"]
"""Whether there is a ratio ("ok"), or why not: there is no noise ("exact"), the reference is zero
everywhere ("no-signal"), the quantized model gives NaN or infinity where the reference is finite
("non-finite"), or nothing could be compared ("not-compared")."""


@dataclass(frozen=True)
class Span:
    """A range of source text, and the name of the function that it is in."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    function: str = ""

    @property
    def start(self) -> tuple[int, int]:
        return self.line, self.column

    @property
    def end(self) -> tuple[int, int]:
        return self.end_line, self.end_column


@dataclass(frozen=True)
class FloatFormat:
    """What a floating point type can represent."""

    significant_bits: int
    """Bits of a normal number's significand, the implicit one included."""
    smallest_normal: float
    largest: float

    @property
    def smallest_spacing(self) -> float:
        """The distance between two neighbouring subnormal numbers."""
        return self.smallest_normal * 2.0 ** (1 - self.significant_bits)

    @property
    def overflow(self) -> float:
        """The smallest number that is rounded to infinity: half a spacing beyond the largest one."""
        return self.largest + 2.0 ** (math.frexp(self.largest)[1] - self.significant_bits - 1)


@dataclass(frozen=True)
class Quantizer:
    """A quantizer of an op: of its weight, of its output, or of an input that it reads.

    A cast to half precision is a quantizer, too. Its granularity is "per-value", and it has no scale.
    """

    role: Literal["weight", "output", "input"]
    dtype: str
    granularity: Literal["per-tensor", "per-channel", "per-group", "per-token", "per-value"]
    scale: tuple[float, float] | None
    """The smallest and the largest scale. None if scales are computed for each input, or are not finite."""
    zero_point: tuple[int, int] | None
    quant_min: int | None
    quant_max: int | None
    rms_scale: float | None = None
    """The root of the mean squared scale, which the power of rounding noise is proportional to."""
    axis: int | None = None
    """The dimension that has a scale for each index; None if there is no such dimension."""
    observed: tuple[float, float] | None = None
    """The smallest and the largest value seen in calibration; None if that is not known."""
    format: FloatFormat | None = None
    """What its type can represent; None for integers."""


@dataclass(frozen=True)
class Channels:
    """A summary of the largest magnitude in each channel of a tensor."""

    role: Literal["weight", "output"]
    count: int
    widest: int
    """Index of the channel with the largest magnitude."""
    widest_magnitude: float
    median_magnitude: float
    """Median over the channels of their largest magnitudes."""


@dataclass(frozen=True)
class Histogram:
    """How many values fell into each of the intervals of equal width from ``low`` to ``high``."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ModelInput:
    """An input of the model that an op reads in quantized form, or cast."""

    name: str
    quantizer: Quantizer
    sqnr_db: float | None
    """The ratio of the quantized input; None if it is exact, or could not be compared."""
    reference_range: tuple[float | None, float | None]
    saturated: float = 0.0
    """The share of its values outside the range of its quantizer."""
    clipping_share: float = 0.0
    """The share of its noise that those values have."""


@dataclass(frozen=True)
class Part:
    """The noise that one input of an op with several inputs contributes, as in an addition."""

    handle: int
    relative: float
    """Noise over signal, by channel, summed over the channels."""


@dataclass(frozen=True)
class OpReport:
    """The measurements at one debug handle."""

    handle: int
    op: str
    node: str
    module: str
    inputs: tuple[int, ...]
    """The handles of the ops whose outputs this op reads."""
    spans: tuple[Span, ...]
    """The stack frames that called the op, innermost first, without those of torch."""
    shown: int | None
    """The index in ``spans`` of the frame where findings are shown: the innermost one in a workspace
    file."""
    verdict: Verdict
    sqnr_db: float | None
    introduced_verdict: Verdict
    introduced_sqnr_db: float | None
    introduced_share: float
    """The noise power that the op introduces, relative to the accumulated noise power at its output."""
    floor_sqnr_db: float | None
    mse: float | None
    max_abs_error: float | None
    cosine: float | None
    reference_range: tuple[float | None, float | None]
    actual_range: tuple[float | None, float | None]
    saturated: float
    """The share of reference values outside the range of the output quantizer."""
    quantizers: tuple[Quantizer, ...] = ()
    reference_rms: float | None = None
    """The root of the mean squared reference value."""
    weight_share: float | None = None
    """The share of the introduced noise that comes from quantized weights and constants, which is there
    before the output is quantized. None if the op introduces nothing."""
    clipping_share: float = 0.0
    """The share of the introduced noise that values outside the range of the output quantizer have."""
    vanished: float = 0.0
    """The share of nonzero reference values that are zero in the quantized model."""
    channels: tuple[Channels, ...] = ()
    fan_in: int | None = None
    """For an op with a quantized weight: how many products are summed for one output value."""
    input_rms: float | None = None
    """The root of the mean squared reference value of the input that is multiplied with the weight."""
    executions: int = 0
    """How often the op ran, in all batches and loop iterations."""
    worst_batch: int | None = None
    """The number of the batch with the lowest SQNR, from 0; None if no batch has an SQNR."""
    worst_batch_sqnr_db: float | None = None
    errors: Histogram | None = None
    """The differences quantized − reference of evenly sampled values from the first execution."""
    in_float: str = ""
    """Why the op computes in float, as in the reference; empty if it is quantized."""
    whole: bool = False
    """True if the output is integers or truth values, whose differences say nothing about accuracy."""
    missed: tuple[int, ...] = ()
    """The handles of in-place ops whose writes do not reach this op in the quantized model. They cause most
    of the difference at its input."""
    input_share: float | None = None
    """The share of the introduced noise that comes from quantized inputs of the model, measured with exact
    weights. None if the op reads no such input, or introduces nothing."""
    model_inputs: tuple[ModelInput, ...] = ()
    """The inputs of the model that the op reads in quantized form."""
    channel_noise: float | None = None
    """The mean over the channels of noise power over signal power. Loud channels do not hide the loss of
    quiet ones in it. It is estimated from a sample of the values; None if the channels are not known."""
    introduced_channel_noise: float | None = None
    """The same mean for the introduced noise."""
    parts: tuple[Part, ...] = ()
    """For an op with several inputs: what each of them contributes to the noise."""
    divisor: int | None = None
    """The handle of the op whose output must not be zero: this op divides by it, say, or takes its
    logarithm."""
    masked: float = 0.0
    """The share of the values that a mask removes from the softmax after the op."""
    masked_min: float | None = None
    """The lowest finite reference value among the masked ones."""
    uncalibrated: str = ""
    """Why a quantizer of the op has no range: it saw no value in calibration, or only zeros. Empty if all
    have one."""
    traced: bool = True
    """True if ``inputs`` has every compared op that this op reads."""

    @property
    def span(self) -> Span | None:
        """The span where findings about this op are shown; None if no workspace file has one."""
        return None if self.shown is None else self.spans[self.shown]

    @property
    def name(self) -> str:
        """The name of the op as people write it (see ``op_name``)."""
        return op_name(self.op)

    def quantizers_of(self, role: Literal["weight", "output", "input"]) -> list[Quantizer]:
        return [each for each in self.quantizers if each.role == role]


def op_name(op: str) -> str:
    """The name of an operator as people write it: ``conv2d`` for ``aten.conv2d.default``."""
    parts = op.split(".")
    return parts[1] if len(parts) == 3 else op
