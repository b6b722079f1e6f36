"""The noise floor of an op: the loss that rounding alone must cost, given its bits, scales and signal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from handlens.report import OpReport, Quantizer

# E[1/m²] of a mantissa 1 ≤ m < 2 whose logarithm is uniform.
_MEAN_INVERSE_SQUARE = 3 / (8 * math.log(2))

# Ops that hand on the rounding error of a value that they read unchanged, to one value of their output.
_UNIT_GAIN = {"add", "add_", "sub", "sub_", "embedding"}

# An op that sums fewer products is mostly a depthwise convolution. Each of its channels has an input and a
# weight of its own, so the mean over all channels says too little about any of them.
_FEWEST_PRODUCTS = 16


def floor_sqnr_db(op: OpReport) -> float | None:
    """The introduced SQNR, in dB, that the op would have if it lost nothing but what rounding must cost.

    Rounding to steps of Δ adds an error that is near uniform in ±Δ/2, of power Δ²/12 (Bennett, *Spectra of
    quantized signals*, 1948), and never more than the power of the values. The error of a weight meets the
    input: Δ²/12 · fan-in · mean squared input. Where an op has several quantizers of its output, their mean
    counts, as it does in what is measured.

    A cast to p significant bits rounds a value m·2ᵉ to steps of 2ᵉ⁺¹⁻ᵖ, so the power is
    2²⁻²ᵖ/12 · E[1/m²] of the signal's: 55.6 dB for bfloat16, 73.7 dB for float16, give or take 1 dB.

    None if a part of the noise is not known. Not known are the error of a quantized input of the model in
    a convolution or a product, because it depends on how the values of the input are correlated, and the
    error of a weight of which few products are summed, as in a depthwise convolution.
    """
    if op.introduced_verdict != "ok" or not op.reference_rms:
        return None
    signal = op.reference_rms**2
    parts = (
        _output_noise(op.quantizers_of("output"), signal),
        _weight_noise(op.quantizers_of("weight"), op),
        _input_noise(op.quantizers_of("input"), op),
    )
    noise = math.fsum(part for part in parts if part is not None)
    if None in parts or not noise:
        return None
    return 10 * (math.log10(signal) - math.log10(noise))


def _output_noise(quantizers: Sequence[Quantizer], signal: float) -> float | None:
    powers = _powers(quantizers, signal)
    # No value moves by more than itself: the grid has a zero.
    return min(math.fsum(powers) / len(powers), signal) if powers else _total(powers)


def _weight_noise(quantizers: Sequence[Quantizer], op: OpReport) -> float | None:
    powers = _powers(quantizers)
    if not powers or op.name in _UNIT_GAIN:
        return _total(powers)
    if len(powers) > 1 or op.input_rms is None:
        return None
    if op.fan_in is None or op.fan_in < _FEWEST_PRODUCTS:
        return None
    return powers[0] * op.fan_in * op.input_rms**2


def _input_noise(quantizers: Sequence[Quantizer], op: OpReport) -> float | None:
    return None if quantizers and op.name not in _UNIT_GAIN else _total(_powers(quantizers))


def _total(powers: list[float] | None) -> float | None:
    return None if powers is None else math.fsum(powers)


def _powers(quantizers: Sequence[Quantizer], signal: float | None = None) -> list[float] | None:
    """The power of each rounding error of a value; None where one is not known.

    ``signal`` is the power of the values that are rounded, where it is known.
    """
    powers: list[float] = []
    for each in quantizers:
        if each.rms_scale is not None:
            powers.append(each.rms_scale**2 / 12)
        elif each.format is not None and signal is not None:
            relative = 2.0 ** (2 - 2 * each.format.significant_bits) * _MEAN_INVERSE_SQUARE
            powers.append(max(relative * signal, each.format.smallest_spacing**2) / 12)
        else:
            return None
    return powers
