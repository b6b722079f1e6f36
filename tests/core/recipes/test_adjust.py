"""What ``adjust`` names is quantized as it says, and each kind of change wins where it is made for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.observer import MinMaxObserver
from torchao.quantization.pt2e.quantizer import DerivedQuantizationSpec, QuantizationSpec
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    QuantizationConfig,
    X86InductorQuantizer,
)
from torchao.testing.pt2e._xnnpack_quantizer import get_symmetric_quantization_config

from handlens import recipes
from handlens.advice_report import ChangeKind
from handlens.capture.nodes import is_dequantize, is_quantize
from handlens.loading.subject import InvalidTarget, Subject
from handlens.recipes import Quantized
from handlens.recipes.adjusting import alternatives
from handlens.recipes.int8 import HAS_GROUPS
from handlens.recipes.xnnpack_quantizer import XNNPACKQuantizer
from handlens.report import OpReport, Report

from ..conftest import RunText
from ..quantizing import captured, named, ops, quantize

needs_groups = pytest.mark.skipif(
    not HAS_GROUPS, reason="torchao 0.16 has no 8 bit weights in groups"
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def per_tensor() -> XNNPACKQuantizer:
    """XNNPACK's quantizer with one scale for each weight."""
    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=False))
    return quantizer


def min_max(bits: int = 8) -> X86InductorQuantizer:
    """The x86 quantizer with observers that clip nothing, and weights of some bits."""
    highest = 2 ** (bits - 1) - 1
    activation = QuantizationSpec(
        torch.uint8, MinMaxObserver, 0, 255, torch.per_tensor_affine, is_dynamic=False
    )
    weight = QuantizationSpec(
        torch.int8, MinMaxObserver, -highest - 1, highest, torch.per_tensor_symmetric
    )
    quantizer = X86InductorQuantizer()
    quantizer.set_global(QuantizationConfig(activation, activation, weight, None))
    return quantizer


def four_bits() -> X86InductorQuantizer:
    return min_max(bits=4)


def dtypes(result: Quantized, node: Node) -> list[torch.dtype]:
    """The types that the inputs of an op are quantized to, one for each input."""
    return [each.args[5] for each in node.all_input_nodes if is_dequantize(each)]


def quantized_to(node: Node) -> list[torch.dtype]:
    """The types that the output of an op is quantized to."""
    return [each.args[5] for each in node.users if is_quantize(each)]


def weight_scales(node: Node) -> Any:
    """How many scales the weight of an op has, and the axis that they belong to; None if it has one."""
    return scales_of(node, 1)


def scales_of(node: Node, argument: int) -> Any:
    dequantize = node.args[argument]
    assert isinstance(dequantize, Node)
    if "per_channel" not in str(dequantize.target):
        return None
    scales = getattr(dequantize.graph.owning_module, str(dequantize.args[1]))
    return scales.numel(), dequantize.args[3]


def quantize_ops(model: GraphModule) -> list[Node]:
    return [node for node in model.graph.nodes if is_quantize(node)]


class Convolutions(nn.Module):
    """Two convolutions, each with a ReLU that they are computed together with, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x))
        return self.last(x.mean((2, 3)))


IMAGES = torch.randn(2, 3, 8, 8)


# -- which quantizers change -----------------------------------------------------------------------


def test_an_op_is_adjusted_together_with_what_it_is_computed_with() -> None:
    adjust = (("second", "activation-16-bit"),)
    result = quantize(Convolutions(), IMAGES, recipe="xnnpack", adjust=adjust)
    first, second = named(result.actual, "relu")
    assert quantized_to(first) == [torch.int8]
    assert quantized_to(second) == [torch.int16]


def test_what_reads_a_16_bit_value_reads_all_of_its_bits() -> None:
    adjust = (("first", "activation-16-bit"),)
    for recipe in ("x86", "xnnpack"):
        result = quantize(Convolutions(), IMAGES, recipe=recipe, adjust=adjust)
        _, second = named(result.actual, "conv2d")
        assert dtypes(result, second)[0] == torch.int16
        # No value is quantized twice.
        assert not any(is_dequantize(each.args[0]) for each in quantize_ops(result.actual))  # type: ignore[arg-type]


def test_what_shares_a_quantizer_shares_the_adjusted_one() -> None:
    adjust = (("left", "activation-16-bit"),)
    result = quantize(Branches(), torch.randn(1, 3, 16, 16), recipe="xnnpack", adjust=adjust)
    sharing = [
        node for name in ("relu", "cat", "max_pool2d") for node in named(result.actual, name)
    ]
    assert [quantized_to(each) for each in sharing] == [[torch.int16]] * 4
    scales = {user.args[1] for each in sharing for user in each.users}
    assert len(scales) == 1


def test_a_weight_gets_a_scale_for_each_output_channel() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv2d(3, 6, 3)
            self.up = nn.ConvTranspose2d(6, 5, 3)
            self.last = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.up(self.down(x)))

    found: dict[bool, list[Any]] = {}
    for adjusted in (False, True):
        adjust = (("", "weight-per-channel"),) if adjusted else ()
        result = quantize(Layers(), torch.randn(1, 3, 8, 8), recipe=per_tensor, adjust=adjust)
        layers = [
            *named(result.actual, "conv2d"),
            *named(result.actual, "conv_transpose2d"),
            *named(result.actual, "linear"),
        ]
        found[adjusted] = [weight_scales(each) for each in layers]
    assert found == {False: [None] * 3, True: [(6, 0), (5, 1), (4, 0)]}


class BiasedByScale(XNNPACKQuantizer):
    """Gives the bias of a linear layer the product of the scales of its input and its weight."""

    def annotate(self, model: GraphModule) -> GraphModule:
        model = super().annotate(model)
        for node in model.graph.find_nodes(
            op="call_function", target=torch.ops.aten.linear.default
        ):
            source, weight, bias = node.args
            node.meta[Q_ANNOTATION_KEY].input_qspec_map[bias] = DerivedQuantizationSpec(
                [(source, node), (weight, node)],
                lambda observers: (
                    observers[0].calculate_qparams()[0] * observers[1].calculate_qparams()[0],
                    torch.zeros_like(observers[1].calculate_qparams()[1]),
                ),
                torch.int32,
                -(2**31),
                2**31 - 1,
                torch.per_tensor_symmetric,
            )
        return model


def biased_by_scale() -> BiasedByScale:
    quantizer = BiasedByScale()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=False))
    return quantizer


def test_a_bias_has_as_many_scales_as_the_weight_that_they_come_from() -> None:
    model, x = nn.Sequential(nn.Linear(8, 4)), torch.randn(2, 8)
    for adjust, expected in (((), None), ((("0", "weight-per-channel"),), (4, 0))):
        result = quantize(model, x, recipe=biased_by_scale, adjust=adjust)
        (linear,) = named(result.actual, "linear")
        assert scales_of(linear, 1) == expected
        assert scales_of(linear, 2) == expected


def test_a_batch_norm_is_adjusted_with_what_it_is_folded_into() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    adjust = (("1", "weight-per-channel"),)
    result = quantize(model, IMAGES, recipe="arm", adjust=adjust)
    first, second = named(result.actual, "conv2d")
    assert weight_scales(first) == (4, 0)
    assert weight_scales(second) is None


def test_a_debug_handle_adjusts_one_op() -> None:
    handles = [
        handle
        for handle, node in ops(quantize(Convolutions(), IMAGES).reference).items()
        if "conv2d" in str(node.target)
    ]
    adjust = ((handles[1], "weight-per-channel"),)
    result = quantize(Convolutions(), IMAGES, recipe="arm", adjust=adjust)
    first, second = named(result.actual, "conv2d")
    assert (weight_scales(first), weight_scales(second)) == (None, (8, 0))


def test_what_is_kept_in_float_is_not_adjusted() -> None:
    adjust = (("first", "activation-16-bit"), ("second", "weight-per-channel"))
    result = quantize(
        Convolutions(), IMAGES, recipe="arm", adjust=adjust, keep_float=("first", "second")
    )
    assert not any(node.args[5] == torch.int16 for node in quantize_ops(result.actual))
    assert all(node.args[1].op == "get_attr" for node in named(result.actual, "conv2d"))


def test_a_layer_that_is_kept_in_float_may_be_adjusted() -> None:
    model = nn.Sequential(nn.Linear(128, 16), nn.Linear(16, 16))
    result = quantize(
        model,
        torch.randn(2, 128),
        recipe="int8-weight-only",
        adjust=(("0", "weight-finer-group"),),
        keep_float=("0",),
    )
    ((weight,),) = result.described.values()
    assert weight.granularity == "per-channel"


def test_an_op_is_adjusted_also_if_its_neighbours_are_kept_in_float() -> None:
    adjust = (("second", "activation-16-bit"),)
    result = quantize(
        Convolutions(), IMAGES, recipe="x86", adjust=adjust, keep_float=("first", "last")
    )
    _, second = named(result.actual, "conv2d")
    assert is_dequantize(second.args[1])  # type: ignore[arg-type]


class Branches(nn.Module):
    """Two convolutions whose results share a quantizer, and one that reads what another reads, too."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        left = torch.relu(self.left(x))
        x = torch.cat([left, torch.relu(self.right(left))], 1)
        return self.last(nn.functional.max_pool2d(x, 2))


@pytest.mark.parametrize("recipe", ["x86", "arm", "xnnpack"])
def test_a_switch_gives_what_keep_float_gives_for_an_adjusted_model(recipe: str) -> None:
    x = torch.randn(2, 3, 16, 16)
    adjust = (("right", "activation-16-bit"), ("", "observer-min-max"))
    model = Branches()
    adjusted = quantize(model, x, recipe=recipe, adjust=adjust)
    assert adjusted.switch is not None
    switch = adjusted.switch()
    for unit in switch.units:
        kept = quantize(model, x, recipe=recipe, adjust=adjust, keep_float=tuple(unit))
        assert torch.equal(switch.graph(unit)(x), kept.actual(x))


def test_later_entries_go_before_earlier_ones() -> None:
    adjust = (("", "observer-min-max"), ("first", "observer-histogram"))
    result = quantize(Convolutions(), IMAGES, adjust=adjust)
    handles = {node.name: handle for handle, node in ops(result.reference).items()}
    assert "observer-min-max" in result.alternatives[handles["conv2d"]]
    assert "observer-histogram" in result.alternatives[handles["linear"]]


def test_sixteen_bits_have_the_observer_that_is_asked_for() -> None:
    adjust = (("first", "observer-histogram"), ("first", "activation-16-bit"))
    assert kinds(Convolutions(), IMAGES, "x86", "first", adjust=adjust) == {"observer-min-max"}


def test_joined_recipes_are_adjusted() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(16, 8)
            self.head = nn.Linear(8, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embedding(tokens))

    tokens = torch.arange(16).view(2, 8)
    adjust = (("head", "activation-16-bit"),)
    result = quantize(Words(), tokens, recipe="arm+embedding", adjust=adjust)
    (head,) = named(result.actual, "linear")
    assert dtypes(result, head) == [torch.int16, torch.int8]


# -- what can be asked for -------------------------------------------------------------------------


def kinds(model: nn.Module, x: Tensor, recipe: Any, module: str, **subject: Any) -> set[str]:
    result = quantize(model, x, recipe=recipe, **subject)
    handles = [
        handle
        for handle, node in ops(result.reference).items()
        if module in {path for path, _ in (node.meta.get("nn_module_stack") or {}).values()}
    ]
    return set(alternatives(result, handles))


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("x86", {"activation-16-bit", "observer-min-max"}),
        ("xnnpack", {"activation-16-bit", "observer-min-max"}),
        ("arm", {"weight-per-channel", "activation-16-bit", "observer-min-max"}),
        (min_max, {"weight-per-channel", "activation-16-bit", "observer-histogram"}),
        (
            four_bits,
            {"weight-8-bit", "weight-per-channel", "activation-16-bit", "observer-histogram"},
        ),
        ("int8-dynamic", set()),
        ("bf16", set()),
    ],
)
def test_a_recipe_knows_what_would_change_an_op(recipe: Any, expected: set[str]) -> None:
    assert kinds(Convolutions(), IMAGES, recipe, "first") == expected


@pytest.mark.parametrize(
    ("recipe", "inputs", "expected"),
    [
        ("int4-weight-only", 128, {"weight-finer-group", "weight-8-bit"}),
        ("int4-weight-only", 32, {"weight-8-bit"}),
        pytest.param("int8-weight-only", 128, {"weight-finer-group"}, marks=needs_groups),
        ("int8-weight-only", 24, set()),
    ],
)
def test_what_a_layer_can_have_depends_on_its_size(
    recipe: str, inputs: int, expected: set[str]
) -> None:
    model = nn.Sequential(nn.Linear(inputs, 16))
    assert kinds(model, torch.randn(2, inputs), recipe, "0") == expected


def test_what_an_op_has_already_is_no_alternative() -> None:
    adjust = (("first", "activation-16-bit"), ("first", "weight-per-channel"))
    assert kinds(Convolutions(), IMAGES, "arm", "first", adjust=adjust) == {"observer-histogram"}
    assert kinds(Convolutions(), IMAGES, "arm", "first", keep_float=("first",)) == set()


@pytest.mark.parametrize("recipe", ["x86", "arm", "xnnpack", min_max, four_bits])
def test_every_alternative_can_be_asked_for(recipe: Any) -> None:
    result = quantize(Convolutions(), IMAGES, recipe=recipe)
    for handle, possible in result.alternatives.items():
        for kind in possible:
            adjusted = quantize(Convolutions(), IMAGES, recipe=recipe, adjust=((handle, kind),))
            assert kind not in adjusted.alternatives[handle]


@pytest.mark.parametrize(
    ("recipe", "kind", "said"),
    [
        (
            "x86",
            "weight-finer-group",
            "with recipe x86 no weight there can be quantized in groups. "
            "There can be 'activation-16-bit' or 'observer-min-max'.",
        ),
        (
            "int8-dynamic",
            "activation-16-bit",
            "no value there has a scale from calibration. Nothing there can be adjusted, only",
        ),
        ("bf16", "weight-8-bit", "with recipe bf16 no weight there has fewer than 8 bits"),
    ],
)
def test_what_a_recipe_cannot_do_is_told(recipe: str, kind: str, said: str) -> None:
    with pytest.raises(InvalidTarget) as caught:
        quantize(Convolutions(), IMAGES, recipe=recipe, adjust=(("last", kind),))
    assert str(caught.value).startswith(f"adjust has '{kind}' for 'last', and ")
    assert said in str(caught.value)


@pytest.mark.parametrize("recipe", ["x86", "bf16", "int8-weight-only"])
def test_an_entry_that_names_nothing_is_told(recipe: str) -> None:
    with pytest.raises(InvalidTarget, match=r"^adjust has 'frist', .* Is it 'first'"):
        quantize(Convolutions(), IMAGES, recipe=recipe, adjust=(("frist", "activation-16-bit"),))


def test_what_is_so_already_may_be_asked_for() -> None:
    result = quantize(Convolutions(), IMAGES, adjust=(("first", "weight-per-channel"),))
    assert [weight_scales(each) for each in named(result.actual, "conv2d")] == [(8, 0), (8, 0)]


# -- what a target declares ------------------------------------------------------------------------

DECLARED = """
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.last(self.first(x).relu())

    def inputs():
        return (torch.randn(4, 8),)
"""
TARGET = """
    def handlens_main():
        return {{"model": Model(), "example_inputs": inputs(), "recipe": "arm", "adjust": {0}}}
"""


def layers(report: Report) -> dict[str, OpReport]:
    assert report.status == "ok", report.error
    return {op.module: op for op in report.ops if op.name == "linear"}


def weights(report: Report) -> dict[str, str]:
    """How the scales of each layer's weight are given."""
    return {
        name: weight.granularity
        for name, op in layers(report).items()
        for weight in op.quantizers_of("weight")
    }


@pytest.mark.parametrize("given", ["'weight-per-channel'", "['weight-per-channel']"])
def test_a_target_declares_what_to_adjust(run_text: RunText, given: str) -> None:
    report = run_text(DECLARED + TARGET.format(f"{{'first': {given}}}"))
    assert weights(report) == {"first": "per-channel", "last": "per-tensor"}


def test_a_configured_target_declares_what_to_adjust(run_text: RunText, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.handlens]\nrecipe = 'arm'\n[tool.handlens.targets.main]\n"
        "model = 'model:Model'\nexample_inputs = 'model:inputs'\n"
        "adjust = {last = 'weight-per-channel'}\n"
    )
    report = run_text(DECLARED, recipe="arm")
    assert weights(report) == {"first": "per-tensor", "last": "per-channel"}


def test_a_request_overrides_what_the_target_adjusts(run_text: RunText) -> None:
    text = DECLARED + TARGET.format("{'first': 'weight-per-channel'}")
    report = run_text(text, adjust=(("last", "weight-per-channel"),))
    assert weights(report) == {"first": "per-tensor", "last": "per-channel"}


def test_a_report_tells_the_format_that_an_op_has(run_text: RunText) -> None:
    text = DECLARED + TARGET.format("{}")
    plain = run_text(text)
    adjusted = run_text(text, adjust=(("last", "activation-16-bit"),))
    assert adjusted.verified is not None
    assert adjusted.verified.verdict == "exact"
    assert adjusted.coverage == plain.coverage
    relu, wide = (
        next(op for op in report.ops if op.name == "relu") for report in (plain, adjusted)
    )
    (before,), (after,) = relu.quantizers, wide.quantizers
    assert (before.dtype, before.quant_min, before.quant_max) == ("int8", -128, 127)
    assert (after.dtype, after.quant_min, after.quant_max) == ("int16", -32767, 32767)
    assert after.zero_point == (0, 0)
    assert after.observed == before.observed
    # 7 bits more: the eighth is for the negative values, which a relu does not give.
    assert relu.floor_sqnr_db is not None
    assert wide.floor_sqnr_db == pytest.approx(relu.floor_sqnr_db + 42, abs=1)
    assert wide.introduced_sqnr_db == pytest.approx(wide.floor_sqnr_db, abs=3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("['first']", "gives a list as adjust: make it a mapping"),
        ("{True: 'weight-8-bit'}", "a bool in adjust"),
        ("{'first': 8}", "an int for 'first' in adjust"),
        ("{'first': 'activation-16bit'}", "Is it 'activation-16-bit'"),
        ("{'first': 'better'}", "There are 'weight-per-channel', "),
        (
            "{'first': 'keep-float'}",
            "'keep-float' for 'first' in adjust, which is no kind of change. Name it in keep_float.",
        ),
        ("{'fist': 'weight-8-bit'}", "Is it 'first'"),
        ("{'first': 'weight-finer-group'}", "no weight there can be quantized in groups"),
    ],
)
def test_an_adjust_that_is_none_is_told_at_the_target(
    run_text: RunText, given: str, said: str
) -> None:
    report = run_text(DECLARED + TARGET.format(given))
    assert report.error is not None
    assert report.error.rule == "HL305"
    assert said in report.error.message
    assert report.error.span is not None
    assert report.error.span.line == 17


# -- what it wins ----------------------------------------------------------------------------------


def won(
    model: nn.Module, batches: list[Tensor], recipe: Any, *adjust: tuple[str, ChangeKind]
) -> float:
    """How many dB the output for the last batch gains by an adjustment. The batches before calibrate."""
    *calibration, last = batches
    program = captured(model, calibration[0])
    subject = Subject(model, (calibration[0],), calibration=[((each,), {}) for each in calibration])

    def decibels(adjust: tuple[tuple[str, ChangeKind], ...]) -> float:
        result = recipes.resolve(recipe).quantize(program, replace(subject, adjust=adjust))
        signal, actual = result.reference(last), result.actual(last)
        return float(10 * (signal.square().mean() / (actual - signal).square().mean()).log10())

    with torch.no_grad():
        return decibels(adjust) - decibels(())


def test_a_scale_for_each_channel_wins_where_one_channel_has_large_weights() -> None:
    class Loud(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gains = torch.ones(8)
            self.gains[5] = 100.0
            self.layer = nn.Linear(64, 8, bias=False)
            self.layer.weight.data *= self.gains[:, None]

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) / self.gains

    batches = [torch.randn(16, 64) for _ in range(3)]
    assert won(Loud(), batches, "arm", ("layer", "weight-per-channel")) > 15


def test_sixteen_bits_win_where_one_channel_is_far_louder() -> None:
    class Massive(nn.Module):
        """One channel of the residual stream is far louder than all others, and is not read."""

        def __init__(self) -> None:
            super().__init__()
            self.residual = Residual()
            self.last = nn.Linear(31, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.tanh(self.residual(x)[..., :31]))

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 32)
            self.layer.bias.data[31] = 1000.0

        def forward(self, x: Tensor) -> Tensor:
            return x + self.layer(x)

    batches = [torch.randn(16, 32) for _ in range(3)]
    model = Massive()
    assert won(model, batches, "xnnpack", ("residual", "activation-16-bit")) > 30
    # The sum itself needs the bits, too.
    assert won(model, batches, "xnnpack", ("residual.layer", "activation-16-bit")) < 2


def test_min_max_wins_where_rare_values_are_the_output() -> None:
    class Peaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 8, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).abs().amax((2, 3))

    batches = [torch.randn(1, 1, 384, 384) for _ in range(3)]
    for each in batches:
        each[..., 100, 100] = 50.0
    assert won(Peaks(), batches, "x86", ("layer", "observer-min-max")) > 30


def test_a_histogram_wins_where_calibration_has_values_that_never_come_again() -> None:
    batches = [torch.randn(4, 4096, 64) for _ in range(3)]
    batches[0][0, 0, 0] = 1000.0
    model = nn.Sequential(nn.Linear(64, 16))
    assert won(model, batches, min_max, ("0", "observer-histogram")) > 30


def test_finer_groups_and_eight_bits_win_where_few_weights_are_far_larger() -> None:
    class Outliers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(128, 16, bias=False)
            self.layer.weight.data[:, 127] = 2.0

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x * (torch.arange(128) < 127))

    batches = [torch.randn(16, 128) for _ in range(2)]
    model = Outliers()
    assert won(model, batches, "int4-weight-only", ("layer", "weight-finer-group")) > 5
    assert won(model, batches, "int4-weight-only", ("layer", "weight-8-bit")) > 15


def test_eight_bits_win_where_a_quantizer_gives_weights_four() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    batches = [torch.randn(4, 3, 16, 16) for _ in range(4)]
    assert won(model, batches, four_bits, ("0", "weight-8-bit")) > 5
