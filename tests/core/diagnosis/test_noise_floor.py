"""The noise floor is what rounding costs: here it is compared with values that are rounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from handlens.diagnosis.noise_floor import floor_sqnr_db
from handlens.report import OpReport
from tests.sample_ops import half, losing_op, quantizer

scales = st.floats(-12, 12).map(math.exp)
seeds = st.integers(0, 2**31)
repeatedly = settings(max_examples=25, deadline=None)


def values(kind: str, seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    make = torch.randn if kind == "gaussian" else torch.rand
    found = make(shape, generator=generator, dtype=torch.float64)
    return found if kind == "gaussian" else 2 * found - 1


def rounded(tensor: Tensor, step: float | Tensor) -> Tensor:
    return (tensor / step).round() * step


def rms(tensor: Tensor) -> float:
    return float(tensor.square().mean().sqrt())


def decibels(reference: Tensor, actual: Tensor) -> float:
    return 20 * math.log10(rms(reference) / rms(actual - reference))


def floor(reference: Tensor, *quantizers: Any, **fields: Any) -> float:
    op = losing_op(reference_rms=rms(reference), quantizers=quantizers, **fields)
    found = floor_sqnr_db(op)
    assert found is not None
    return found


@repeatedly
@given(st.sampled_from(["uniform", "gaussian"]), seeds, scales, st.sampled_from([15, 255, 4095]))
def test_of_an_output_it_is_what_rounding_within_the_range_costs(
    kind: str, seed: int, scale: float, steps: int
) -> None:
    reference = scale * values(kind, seed, 20000)
    step = 2 * float(reference.abs().max()) / steps
    predicted = floor(reference, quantizer(scale=step))
    assert predicted == pytest.approx(decibels(reference, rounded(reference, step)), abs=0.5)


@repeatedly
@given(seeds, scales, st.integers(50, 300), st.booleans())
def test_of_a_weight_it_counts_the_input_and_how_many_products_are_summed(
    seed: int, scale: float, fan_in: int, per_channel: bool
) -> None:
    weight = scale * values("gaussian", seed, 64, fan_in)
    if per_channel:
        weight *= torch.logspace(-0.5, 0.5, 64, dtype=torch.float64)[:, None]
    extent = weight.abs().amax(dim=1, keepdim=True) if per_channel else weight.abs().amax()
    step = extent / 127
    inputs = 3 * values("uniform", seed + 1, 200, fan_in) + 1
    reference = inputs @ weight.T
    predicted = floor(
        reference,
        quantizer("weight", rms_scale=rms(step)),
        fan_in=fan_in,
        input_rms=rms(inputs),
    )
    measured = decibels(reference, inputs @ rounded(weight, step).T)
    assert predicted == pytest.approx(measured, abs=1)


@repeatedly
@given(seeds, scales)
def test_of_weight_and_output_it_is_the_sum_of_both(seed: int, scale: float) -> None:
    weight = scale * values("gaussian", seed, 64, 100)
    inputs = values("gaussian", seed + 1, 200, 100)
    reference = inputs @ weight.T
    steps = float(weight.abs().max()) / 127, float(reference.abs().max()) / 127
    predicted = floor(
        reference,
        quantizer("weight", steps[0]),
        quantizer("output", steps[1]),
        fan_in=100,
        input_rms=rms(inputs),
    )
    measured = decibels(reference, rounded(inputs @ rounded(weight, steps[0]).T, steps[1]))
    assert predicted == pytest.approx(measured, abs=1)


@repeatedly
@given(
    st.sampled_from(["bfloat16", "float16"]),
    st.sampled_from(["uniform", "gaussian"]),
    seeds,
    st.floats(-3, 3).map(math.exp),
)
def test_of_half_precision_it_is_relative_to_the_values(
    dtype: str, kind: str, seed: int, scale: float
) -> None:
    reference = scale * values(kind, seed, 20000)
    measured = decibels(reference, reference.to(getattr(torch, dtype)).double())
    predicted = floor(reference, half(dtype))
    assert predicted == pytest.approx({"bfloat16": 55.6, "float16": 73.7}[dtype], abs=0.1)
    # The largest values of a uniform tensor may all have nearly the same mantissa.
    assert predicted == pytest.approx(measured, abs=1 if kind == "gaussian" else 2.7)


def test_float16_has_no_more_bits_for_numbers_that_are_too_small() -> None:
    reference = 1e-6 * values("gaussian", 0, 20000)
    measured = decibels(reference, reference.to(torch.float16).double())
    assert floor(reference, half("float16")) == pytest.approx(measured, abs=1)


def test_values_smaller_than_a_step_are_lost_and_no_more_than_lost() -> None:
    reference = 0.01 * values("gaussian", 0, 1000)
    assert floor(reference, quantizer(scale=1.0)) == decibels(reference, rounded(reference, 1.0))


def test_several_quantizers_of_one_output_count_by_their_mean() -> None:
    reference = values("uniform", 0, 20000)
    steps = (0.01, 0.05)
    powers = [rms(rounded(reference, step) - reference) ** 2 for step in steps]
    measured = 10 * math.log10(rms(reference) ** 2 / (sum(powers) / 2))
    predicted = floor(reference, *(quantizer(scale=step) for step in steps))
    assert predicted == pytest.approx(measured, abs=0.2)


def test_an_input_of_the_model_counts_where_its_error_passes_as_it_is() -> None:
    reference = values("uniform", 0, 20000)
    measured = decibels(reference, rounded(reference, 0.02))
    add = floor(reference, quantizer("input", 0.02), op="aten.add.Tensor")
    assert add == pytest.approx(measured, abs=0.2)
    embedding = floor(reference, quantizer("weight", 0.02), op="aten.embedding.default")
    assert embedding == add


KNOWN = losing_op(
    reference_rms=1.0,
    quantizers=(quantizer("weight"), quantizer()),
    fan_in=27,
    input_rms=1.0,
)


def _without_scales(role: str) -> Callable[[OpReport], OpReport]:
    return lambda op: replace(
        op,
        quantizers=tuple(
            replace(each, rms_scale=None) if each.role == role else each for each in op.quantizers
        ),
    )


@pytest.mark.parametrize(
    "take",
    [
        lambda op: replace(op, reference_rms=None),
        lambda op: replace(op, reference_rms=0.0),
        lambda op: replace(op, fan_in=None),
        lambda op: replace(op, fan_in=9),
        lambda op: replace(op, input_rms=None),
        lambda op: replace(op, introduced_verdict="exact"),
        lambda op: replace(op, introduced_verdict="non-finite"),
        lambda op: replace(op, quantizers=()),
        lambda op: replace(op, quantizers=(*op.quantizers, quantizer("input"))),
        lambda op: replace(op, quantizers=(half("bfloat16", "weight"), half("bfloat16"))),
        _without_scales("weight"),
        _without_scales("output"),
    ],
)
def test_where_a_part_is_not_known_there_is_none(take: Callable[[OpReport], OpReport]) -> None:
    assert floor_sqnr_db(KNOWN) is not None
    assert floor_sqnr_db(take(KNOWN)) is None
