"""A cause says why, and what helps if that was seen; where the numbers leave a doubt there is none.

What the sentences say is held here. That they are true is held by models, in ``test_reports``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlens.diagnosis import causes
from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.neighbours import Neighbours
from handlens.report import Cause, ModelInput, OpReport
from tests.sample_ops import channels, diagnosed, half, losing_op, quantizer, sample_op


def cause(op: OpReport, *others: OpReport) -> Cause:
    return causes.of_loss(Loss(op, Neighbours([op, *others])))


def loss(op: OpReport) -> str:
    return str(cause(op))


def why(op: OpReport) -> str:
    return cause(op).why


def advice(op: OpReport) -> str:
    return cause(op).help


def activation(**fields: Any) -> OpReport:
    """An op that loses 15 dB by its output, in steps of 0.1 from 0 to 25.5."""
    given: dict[str, Any] = {
        "quantizers": (quantizer(scale=0.1),),
        "weight_share": 0.0,
        "reference_range": (0.0, 25.0),
        "reference_rms": 5.0,
        "floor_sqnr_db": 15.5,
    }
    return losing_op(1, 15.0, **(given | fields))


def weight(*quantizers: Any, **fields: Any) -> OpReport:
    return losing_op(1, 15.0, **({"weight_share": 0.834, "quantizers": quantizers} | fields))


def test_an_input_that_is_quantized_as_it_comes_is_not_the_models() -> None:
    op = weight(quantizer("weight"), quantizer("input", granularity="per-token"))
    assert why(op) == "its weight and its input, both quantized, account for 83 % of what it loses"


# -- saturation ------------------------------------------------------------------------------------


def test_clipping_names_the_values_the_range_and_what_calibration_has_seen() -> None:
    output = quantizer(scale=0.1, zero_point=(100, 100), observed=(-10.0, 15.0))
    op = activation(
        quantizers=(output,), saturated=0.041, clipping_share=0.83, reference_range=(-12.0, 55.25)
    )
    assert why(op) == (
        "4.1 % of its values, up to 55.2, lie outside its quantizer's range of -10 to 15.5, "
        "and calibration has seen no more than 15; clipping them is 83 % of what it loses"
    )
    assert advice(op) == "calibrate with inputs like those the model meets"
    below = replace(op, reference_range=(-80.0, 55.25))
    assert "values, down to -80, lie outside" in why(below)


@pytest.mark.parametrize("observed", [(-12.0, 55.0), None])
def test_what_calibration_has_seen_or_may_have_seen_it_is_not_to_be_given_again(
    observed: Any,
) -> None:
    output = quantizer(scale=0.1, zero_point=(100, 100), observed=observed)
    op = activation(
        quantizers=(output,), saturated=0.041, clipping_share=0.83, reference_range=(-12.0, 55.25)
    )
    assert "calibrate" not in loss(op)
    assert ("its observer cuts them off" in loss(op)) == (observed is not None)


def test_clipping_by_a_quantizer_with_many_ranges_names_none() -> None:
    per_channel = quantizer(granularity="per-channel")
    op = activation(quantizers=(per_channel,), saturated=0.041, clipping_share=1.2)
    assert why(op).startswith("4.1 % of its values lie outside its quantizer's range; clipping")
    assert why(op).endswith("is all of what it loses")


def test_clipping_that_is_not_the_most_of_it_is_not_the_cause() -> None:
    assert "clipping" not in why(activation(saturated=0.041, clipping_share=0.4))


def test_clipping_a_loud_channel_is_not_what_the_quiet_ones_lose() -> None:
    op = activation(
        saturated=0.041,
        clipping_share=0.8,
        channels=(channels(25.0, 0.55),),
        introduced_channel_noise=0.4,
    )
    assert why(op).startswith("channel 17 reaches 25")


# -- weight or activation --------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["per-tensor", "per-channel", "per-group"])
def test_a_weight_is_named_with_how_it_is_quantized(granularity: str) -> None:
    op = weight(quantizer("weight", granularity=granularity), quantizer())
    assert why(op) == (
        f"its weight (8 bits, one scale {granularity.replace('-', ' ')}) "
        "accounts for 83 % of what it loses"
    )
    assert "output" not in loss(op)


@pytest.mark.parametrize(("axis", "channel"), [(0, "input channel"), (1, "output channel")])
def test_the_scales_of_a_transposed_convolution_lie_along_an_axis(axis: int, channel: str) -> None:
    scales = quantizer("weight", granularity="per-channel", axis=axis)
    op = weight(scales, quantizer(), op="aten.conv_transpose2d.input")
    assert f"one scale per {channel}" in why(op)


def test_the_bits_are_those_of_the_range_and_not_of_the_type_that_holds_it() -> None:
    op = weight(quantizer("weight", granularity="per-group", quant_min=-8, quant_max=7))
    assert "4 bits, one scale per group" in why(op)
    assert why(weight(half("bfloat16", "weight"))).startswith("its weight (bfloat16) accounts")


def test_one_scale_for_a_weight_with_a_loud_channel_is_the_cause() -> None:
    loud = (channels(55.2, 1.3, "weight"), channels(99.0, 1.0))
    op = weight(quantizer("weight"), channels=loud)
    assert why(op).startswith(
        "channel 17 of its weight reaches 55.2, the median channel 1.3: one scale"
    )
    assert advice(op) == "quantize the weight per channel"


@pytest.mark.parametrize(
    ("granularity", "spread"),
    [
        ("per-channel", channels(55.2, 1.3, "weight")),
        ("per-tensor", channels(7.9, 1.0, "weight")),
        ("per-tensor", channels(55.2, 0.0, "weight")),
        ("per-tensor", channels(55.2, 1.3, "output")),
    ],
)
def test_a_spread_that_costs_the_weight_nothing_is_not_the_cause(
    granularity: str, spread: Any
) -> None:
    op = weight(quantizer("weight", granularity=granularity), channels=(spread,))
    assert "channel 17" not in loss(op)


@pytest.mark.parametrize(
    ("input_share", "said"),
    [
        (0.8, "the model's input image (8 bits, one scale per tensor) accounts for 80 %"),
        (0.02, "its weight (8 bits, one scale per tensor) accounts for 81 %"),
        (0.4, "its weight and the model's input, both quantized, account for 83 %"),
    ],
)
def test_the_weight_and_an_input_of_the_model_are_told_apart(input_share: float, said: str) -> None:
    given = ModelInput("image", quantizer("input"), 20.0, (0.0, 25.0))
    op = weight(
        quantizer("weight"), quantizer("input"), input_share=input_share, model_inputs=(given,)
    )
    assert why(op).startswith(said)


def test_an_input_that_is_calibrated_for_another_range_is_told_with_both() -> None:
    wide = replace(quantizer("input"), observed=(0.0, 25.0))
    given = ModelInput("image", wide, 5.0, (0.0, 0.9))
    op = weight(quantizer("weight"), wide, input_share=0.8, model_inputs=(given,))
    assert why(op) == (
        "the quantizer of the model's input image has a range of 0 to 25.5, "
        "and its values are 0 to 0.9: they use 9 of 256 steps"
    )
    clipped = replace(given, reference_range=(0.0, 99.0), saturated=0.3, clipping_share=0.9)
    op = replace(op, model_inputs=(clipped,))
    assert why(op).startswith(
        "30 % of the values of the model's input image, up to 99, lie outside its quantizer's range "
        "of 0 to 25.5, and calibration has seen no more than 25;"
    )


def test_where_the_output_is_most_of_it_the_weight_is_not_named() -> None:
    op = activation(
        quantizers=(quantizer("weight"), quantizer()),
        weight_share=0.4,
        channels=(channels(55.2, 1.3, "weight"),),
    )
    assert loss(op) == ""


# -- a scale that is too coarse --------------------------------------------------------------------


def test_a_loud_channel_that_sets_the_scale_is_named_with_what_it_leaves_the_others() -> None:
    op = activation(channels=(channels(25.0, 0.55),))
    assert why(op) == (
        "channel 17 reaches 25, the median channel 0.55, and one scale for all 32 "
        "leaves the median channel 6 of 256 steps"
    )
    assert not advice(op)
    signed = quantizer(scale=0.2, zero_point=(128, 128))
    both_sides = replace(op, quantizers=(signed,), reference_range=(-25.0, 20.0))
    assert "6 of 256 steps" in why(both_sides)


@pytest.mark.parametrize(("name", "equalized"), [("conv2d", True), ("add", False)])
def test_a_loud_channel_can_be_moved_into_a_weight_that_follows(name: str, equalized: bool) -> None:
    op = activation(channels=(channels(25.0, 0.55),))
    reader = sample_op(2, op=f"aten.{name}.default")
    said = cause(op, reader).help
    assert ("cross-layer equalization" in said) == equalized


@pytest.mark.parametrize(
    "change",
    [
        {"channels": (channels(25.0, 4.0),)},
        {"channels": (channels(25.0, 0.55, "weight"),)},
        {"channels": (channels(8.0, 0.55),)},
        {"quantizers": (quantizer(granularity="per-channel"),)},
        {"quantizers": (quantizer(scale=None, zero_point=None),)},
    ],
)
def test_a_loud_channel_is_no_cause_where_it_does_not_set_the_scale(change: Any) -> None:
    op = replace(activation(channels=(channels(25.0, 0.55),)), **change)
    assert "channel 17" not in loss(op)


def test_a_range_far_wider_than_the_values_is_calibration_s_fault() -> None:
    seen = quantizer(scale=0.1, observed=(0.0, 25.0))
    op = activation(quantizers=(seen,), reference_range=(0.2, 1.05), reference_rms=0.4)
    assert why(op) == (
        "its quantizer's range is 0 to 25.5 and its values are 0.2 to 1.05: "
        "they use 11 of 256 steps; calibration has seen 0 to 25"
    )
    assert advice(op).startswith("calibrate")
    not_seen = replace(op, quantizers=(quantizer(scale=0.1, observed=(0.0, 1.0)),))
    assert "calibrate" not in loss(not_seen)


def test_a_scale_that_is_shared_with_louder_values_is_the_cat_s() -> None:
    quiet = activation(reference_range=(0.2, 1.05), reference_rms=0.4)
    loud = sample_op(2, op="aten.linear.default", reference_range=(0.0, 25.0), inputs=())
    cat = sample_op(3, op="aten.cat.default", quantizers=quiet.quantizers, inputs=(1, 2), line=30)
    said = cause(quiet, loud, cat)
    assert str(said) == (
        "the cat at line 30 gives it one scale with linear, which reaches 25: its own values, "
        "0.2 to 1.05, use 11 of 256 steps"
    )
    alone = replace(cat, quantizers=(quantizer(scale=0.5),))
    assert "cat" not in cause(quiet, loud, alone).why


def test_masked_values_that_set_the_scale_are_told_as_such() -> None:
    op = activation(reference_range=(0.2, 1.05), reference_rms=0.4, masked=0.3, masked_min=-1e4)
    assert why(op) == (
        "its masked values reach -1e+04 and set the scale: the others, 0.2 to 1.05, use 11 of 256 steps"
    )


def test_the_smallest_scale_that_an_observer_gives_is_not() -> None:
    smallest = quantizer(scale=2.0**-12)
    op = activation(quantizers=(smallest,), reference_range=(0.0, 0.01), reference_rms=0.004)
    assert loss(op) == ""


def test_a_few_large_values_are_the_cause_where_rounding_alone_costs_that_much() -> None:
    op = activation(reference_rms=0.31)
    assert why(op) == (
        "a few values reach 25 where the rms is 0.31: "
        "steps of 0.1 cover them and are too coarse for the others"
    )
    for far_from_floor in (25.0, None):
        assert "a few values" not in loss(replace(op, floor_sqnr_db=far_from_floor))
    assert loss(replace(op, reference_rms=2.0)) == ""
    fine = replace(op, introduced_sqnr_db=31.0, floor_sqnr_db=31.0)
    assert loss(fine) == ""


def test_few_bits_are_the_cause_where_rounding_alone_costs_that_much() -> None:
    four = quantizer(scale=2.0, quant_max=15)
    op = activation(quantizers=(four,))
    assert why(op) == "its output has 16 steps, and rounding to them gives 15.5 dB at best"
    assert "16 steps" not in loss(replace(op, floor_sqnr_db=20.0))


# -- half precision --------------------------------------------------------------------------------


def test_values_that_float16_cannot_hold_well_are_too_small() -> None:
    op = activation(quantizers=(half("float16"),), reference_rms=3e-7, vanished=0.12)
    assert why(op) == (
        "its values, of rms 3e-07, are too small for float16, which has fewer bits below 6.1e-05, "
        "and 12 % of them become zero"
    )
    assert loss(replace(op, reference_rms=3e-3)) == ""


def test_bfloat16_is_the_cause_where_an_op_is_as_good_as_it_can_be() -> None:
    op = activation(
        quantizers=(half("bfloat16"),), introduced_sqnr_db=55.0, floor_sqnr_db=55.6, vanished=0.01
    )
    assert why(op) == "bfloat16 has 8 significant bits, which is 55.6 dB for any values"
    assert advice(op) == "use float16, which has three bits more"
    assert why(replace(op, weight_share=0.9)) == why(op)
    # Beyond float16, and what is kept in float32 is cast back.
    assert advice(replace(op, reference_range=(0.0, 1e5))) == ""
    assert "bfloat16" not in loss(replace(op, introduced_sqnr_db=30.0))


@pytest.mark.parametrize(
    "change",
    [
        {"weight_share": None},
        {"introduced_verdict": "exact"},
        {"introduced_verdict": "no-signal"},
        {"quantizers": ()},
    ],
)
def test_an_op_of_which_too_little_is_known_has_no_cause(change: Any) -> None:
    assert loss(replace(activation(channels=(channels(25.0, 0.55),)), **change)) == ""


# -- not finite ------------------------------------------------------------------------------------


def broken(name: str, **fields: Any) -> OpReport:
    return sample_op(2, None, verdict="non-finite", op=f"aten.{name}.default", **fields)


def not_finite(op: OpReport, *others: OpReport) -> str:
    return str(causes.of_non_finite(Loss(op, Neighbours([*others, op]))))


def test_values_beyond_float16_overflow() -> None:
    op = broken("exp", quantizers=(half("float16"),), reference_range=(1.0, 1.2e5))
    assert not_finite(op).startswith("its values reach 1.2e+05, and float16 ends at 65504\n")
    for fine in (
        replace(op, reference_range=(1.0, 65504.0)),
        replace(op, quantizers=(half("bfloat16"),)),
        replace(op, quantizers=()),
    ):
        assert not_finite(fine) == ""


def test_a_divisor_that_is_rounded_to_zero_is_named() -> None:
    source = sample_op(1, 40.0, op="aten.mean.dim", vanished=0.034, quantizers=(quantizer(),))
    assert not_finite(broken("reciprocal", divisor=1), source).startswith(
        "3.4 % of the nonzero values of mean, which it reads, are zero in the quantized model, "
        "in steps of 0.1\nadd an epsilon"
    )
    # What is divided is not to blame for what divides it.
    assert not_finite(broken("div", divisor=None), source) == ""
    assert not_finite(broken("div", divisor=1), replace(source, vanished=0.0)) == ""


def test_a_divisor_that_comes_to_zero_by_rounding_is_named() -> None:
    source = sample_op(
        1, 40.0, op="aten.mean.dim", reference_range=(0.003, 9.0), actual_range=(0.0, 9.0),
        quantizers=(quantizer(),),
    )  # fmt: skip
    assert not_finite(broken("div", divisor=1), source).startswith(
        "mean, which it reads, is nowhere below 0.003, and 0 in the quantized model, in steps of 0.1\n"
    )
    for fine in (
        replace(source, reference_range=(-0.1, 9.0)),
        replace(source, actual_range=(0.1, 9.0)),
        replace(source, actual_range=(None, None)),
    ):
        assert not_finite(broken("div", divisor=1), fine) == ""


# -- in the findings -------------------------------------------------------------------------------


def test_every_finding_about_an_own_loss_has_its_cause() -> None:
    clips = activation(saturated=0.041, clipping_share=0.83)
    heir = sample_op(2, 12.0)
    over = sample_op(
        3, None, inputs=(), verdict="non-finite", quantizers=(half("float16"),),
        reference_range=(0.0, 1e6),
    )  # fmt: skip
    findings = diagnosed([clips, heir, over])
    assert [(each.rule, bool(each.cause)) for each in findings] == [
        ("HL101", True),
        ("HL104", True),
        ("HL102", False),
        ("HL103", True),
    ]
    assert findings[0].message == "conv2d 15.0 dB, introduces 15.0 dB"


def test_of_an_op_that_is_not_calibrated_nothing_else_is_said() -> None:
    clips = activation(saturated=0.041, clipping_share=0.83, uncalibrated="it was zero")
    assert [each.rule for each in diagnosed([clips, sample_op(2, 12.0)])] == ["HL206", "HL102"]


def test_every_cause_is_tried_somewhere() -> None:
    tried = {
        each.__module__
        for place in (*causes._OF_LOSSES.values(), causes._OF_NON_FINITE)
        for each in place
    }
    folder = Path(causes.__file__).parent
    there = {each.stem for each in folder.glob("*.py") if "def explain(" in each.read_text("utf-8")}
    assert {each.rpartition(".")[2] for each in tried} == there
