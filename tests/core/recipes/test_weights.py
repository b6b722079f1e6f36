"""Quantized weights in the graph: what ``quantize_`` makes of the model, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    quantize_,
)

from handlens.capture.handles import handle_of
from handlens.comparison import merge
from handlens.recipes import CannotQuantize, int4, weights

from ..conftest import RunText
from ..quantizing import captured, named, ops, quantize

CONFIGURATIONS = {
    "int8-weight-only": Int8WeightOnlyConfig(set_inductor_config=False, version=2),
    "int8-dynamic": Int8DynamicActivationInt8WeightConfig(set_inductor_config=False, version=2),
    "int4-weight-only": int4.configuration(32),
}


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


class Layers(nn.Module):
    """One layer is called twice, and one has the weight of another."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(32, 32)
        self.twice = nn.Linear(32, 32)
        self.head = nn.Linear(32, 32, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.head(self.twice(self.twice(x).relu()))


TOKENS = torch.arange(16).view(2, 8)


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
@pytest.mark.parametrize("recipe", CONFIGURATIONS)
def test_the_graph_computes_what_the_quantized_model_does(recipe: str, strict: bool) -> None:
    model = Layers().eval()
    expected = copy.deepcopy(model)
    quantize_(expected, CONFIGURATIONS[recipe])
    result = quantize(model, TOKENS, recipe=recipe, strict=strict)
    assert torch.equal(result.actual(TOKENS), expected(TOKENS))
    assert torch.equal(result.reference(TOKENS), model(TOKENS))
    assert not torch.equal(result.actual(TOKENS), model(TOKENS))
    assert ops(result.actual).keys() == ops(result.reference).keys()
    # The user's model is as it was.
    assert type(model.twice.weight) is nn.Parameter
    assert model.head.weight is model.embedding.weight


def test_the_program_is_left_as_it_is() -> None:
    program = captured(Layers(), TOKENS)
    before = str(program.program)
    quantize(Layers(), TOKENS, recipe="int8-dynamic")
    assert str(program.program) == before


def test_quantizers_are_described() -> None:
    linear = nn.Linear(64, 16)
    model = nn.Sequential(linear, nn.ReLU())
    result = quantize(model, torch.randn(4, 64), recipe="int8-dynamic")
    ((weight, activation),) = result.described.values()
    largest = linear.weight.abs().amax(1).double() / 127.5
    assert (weight.role, weight.dtype, weight.granularity) == ("weight", "int8", "per-channel")
    assert weight.scale == pytest.approx((float(largest.min()), float(largest.max())))
    assert weight.rms_scale == pytest.approx(float(largest.square().mean().sqrt()))
    assert (activation.role, activation.granularity) == ("input", "per-token")
    assert activation.scale is None


def test_four_bits_are_described_by_group() -> None:
    model = nn.Linear(192, 16)
    result = quantize(model, torch.randn(4, 192), recipe="int4-weight-only")
    ((weight,),) = result.described.values()
    # 128 does not divide 192, 64 does.
    low, high = model.weight.view(16, 3, 64).aminmax(dim=-1)
    scale = (high - low) / 15
    assert (weight.dtype, weight.granularity) == ("uint4", "per-group")
    assert (weight.quant_min, weight.quant_max) == (0, 15)
    assert weight.scale == pytest.approx((float(scale.min()), float(scale.max())), rel=1e-4)


def test_a_kept_layer_keeps_its_weight() -> None:
    result = quantize(Layers(), TOKENS, recipe="int8-weight-only", keep_float=("twice",))
    functions = [node.target for node in named(result.actual, "linear")]
    assert functions == [torch.ops.aten.linear.default] * 2 + [nn.functional.linear]
    assert len(result.described) == 1


class Unfit(nn.Module):
    """What ``quantize_`` does not take: a bare matrix, and the attention's own projections."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        x = nn.functional.linear(x, self.weight)
        return self.attention(x, x, x)[0]


def test_what_quantize_does_not_take_is_said_to_be_left() -> None:
    result = quantize(Unfit(), torch.randn(2, 4, 8), recipe="int8-weight-only")
    assert result.described == {}
    assert result.unquantized == ("linear",)


def parametrized(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", nn.Tanh())
    return layer


NORMED: dict[str, tuple[Callable[[nn.Module], nn.Module], str, str]] = {
    "weight_norm": (parametrizations.weight_norm, "WeightNorm", "remove_parametrizations"),
    "spectral_norm": (parametrizations.spectral_norm, "SpectralNorm", "remove_parametrizations"),
    "orthogonal": (parametrizations.orthogonal, "Orthogonal", "remove_parametrizations"),
    "own": (parametrized, "Tanh", "remove_parametrizations"),
    "old weight_norm": (nn.utils.weight_norm, "WeightNorm", "remove_weight_norm"),
    "old spectral_norm": (nn.utils.spectral_norm, "SpectralNorm", "remove_spectral_norm"),
    "pruning": (
        lambda x: prune.l1_unstructured(x, "weight", 0.5),
        "L1Unstructured",
        "prune.remove",
    ),
}


@pytest.mark.parametrize("kind", NORMED)
@pytest.mark.parametrize("recipe", CONFIGURATIONS)
def test_a_weight_that_is_computed_at_every_call_fails_as_it_does_deployed(
    recipe: str, kind: str
) -> None:
    norm, name, remedy = NORMED[kind]
    model = nn.Sequential(nn.Linear(32, 32), norm(nn.Linear(32, 32)))
    x = torch.randn(4, 32)
    with pytest.raises(
        CannotQuantize, match=f"{name} computes the weight of 1.*{remedy}"
    ) as caught:
        quantize(model, x, recipe=recipe)
    assert handle_of(caught.value.node) is not None
    # It can be left in float, and then is.
    result = quantize(model, x, recipe=recipe, keep_float=("1",))
    assert len(result.described) == 1

    def deployed() -> Tensor:
        quantize_(model, CONFIGURATIONS[recipe])
        output: Tensor = model(x)
        return output

    with pytest.raises((KeyError, TypeError)):
        deployed()


def test_a_weight_that_is_computed_at_every_call_is_an_error_at_its_line(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Linear(32, 32)
                self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(32, 32))

            def forward(self, x):
                return self.normed(self.first(x))

        def handlens_main():
            x = torch.randn(4, 32)
            return {"model": Model(), "example_inputs": (x,), "recipe": "int8-weight-only"}
        """
    )
    assert report.error is not None
    assert report.error.rule == "HL303"
    assert report.error.message == (
        "aten.linear.default cannot be quantized with int8-weight-only: WeightNorm computes the weight of "
        "normed at every call, and torchao's quantize_ takes parameters only. Call "
        "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') first."
    )
    assert report.error.span is not None
    assert report.error.span.line == 12


def test_a_bias_that_is_computed_is_no_hindrance() -> None:
    layer = nn.Linear(32, 32)
    parametrize.register_parametrization(layer, "bias", nn.Tanh())
    x = torch.randn(4, 32)
    result = quantize(layer, x, recipe="int8-weight-only")
    quantize_(layer, CONFIGURATIONS["int8-weight-only"])
    assert torch.equal(result.actual(x), layer(x))


MODEL = """
    import torch
    from torch import nn

    def handlens_main():
        model = nn.Sequential({0})
        return {{"model": model, "example_inputs": (torch.randn(4, 32),), "recipe": "{1}"}}
"""


@pytest.mark.parametrize("recipe", CONFIGURATIONS)
def test_the_coverage_counts_layers_with_quantized_weights(run_text: RunText, recipe: str) -> None:
    report = run_text(MODEL.format("nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 16)", recipe))
    assert report.coverage is not None
    assert (report.coverage.ops, report.coverage.matched, report.coverage.quantized) == (3, 3, 2)
    assert "HL201" not in {finding.rule for finding in report.findings}
    introduced = [op.introduced_verdict for op in report.ops]
    assert introduced == ["ok", "exact", "ok"]


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("nn.Linear(32, 10)", "recipe int4-weight-only quantized nothing, of 1 op: no linear"),
        ("nn.ReLU()", "recipe int4-weight-only quantized nothing, of 1 op"),
    ],
)
def test_nothing_quantized_is_a_finding(run_text: RunText, layers: str, said: str) -> None:
    report = run_text(MODEL.format(layers, "int4-weight-only"))
    (finding,) = [each for each in report.findings if each.rule == "HL201"]
    assert finding.message == said


def test_a_layer_in_a_branch_is_said_to_be_left() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Any:
            x = self.first(x)
            return torch.cond(x.sum() > 0, lambda x: self.second(x), lambda x: x / 3, (x,))

    result = quantize(Branches(), torch.randn(4, 8), recipe="int8-weight-only")
    assert len(result.described) == 1
    [reason] = [result.in_float[handle] for handle in result.expected]
    assert reason == (
        "it is inside a branch of torch.cond, and control flow does not run with the weights of "
        "torchao's quantize_"
    )
    # So it is: a model with quantized layers in its branches cannot be called.
    model = Branches().eval()
    quantize_(model, Int8WeightOnlyConfig(set_inductor_config=False, version=2))
    with pytest.raises(Exception, match="cond"):
        model(torch.randn(4, 8))


def without_gradients(layers: Regions, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = layers.inside(x).relu()
    return layers.inside(x)


def nested(layers: Regions, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = layers.inside(x)
        with torch.enable_grad():
            x = layers.inside(x).relu()
    return x


def in_half(layers: Regions, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        x = layers.inside(x)
    return x.float()


def checkpointed(layers: Regions, x: Tensor) -> Tensor:
    result: Tensor = checkpoint(layers.inside, x, use_reentrant=False)
    return result


class Regions(nn.Module):
    def __init__(self, forward: Callable[[Regions, Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.inside = nn.Linear(32, 32), nn.Linear(32, 32)
        self.calls = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.calls(self, self.before(x))


@pytest.mark.parametrize("forward", [without_gradients, nested, in_half, checkpointed])
@pytest.mark.parametrize("recipe", CONFIGURATIONS)
def test_layers_in_a_region_are_quantized(recipe: str, forward: Any) -> None:
    model, x = Regions(forward).eval(), torch.randn(4, 32)
    expected = copy.deepcopy(model)
    quantize_(expected, CONFIGURATIONS[recipe])
    result = quantize(model, x, recipe=recipe)
    assert not result.expected
    assert torch.equal(result.actual(x), expected(x))
    assert torch.equal(result.reference(x), model(x))
    outputs = merge(result.reference, result.actual).run((x,), {})
    assert torch.equal(outputs.actual[0], expected(x))


def test_a_kept_layer_in_a_region_keeps_its_weight() -> None:
    model, x = Regions(without_gradients).eval(), torch.randn(4, 32)
    result = quantize(model, x, recipe="int8-weight-only", keep_float=("inside",))
    assert len(result.described) == 1
    assert len(result.in_float) > 2


def test_the_noise_floor_of_a_quantized_weight_is_known(run_text: RunText) -> None:
    text = """
    import torch
    from torch import nn

    def handlens_layers():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)), (torch.randn(256, 64),)
    """
    report = run_text(text, recipe="int8-weight-only")
    layers = [op for op in report.ops if op.name == "linear"]
    assert [op.fan_in for op in layers] == [64, 64]
    for op in layers:
        assert op.floor_sqnr_db == pytest.approx(op.introduced_sqnr_db, abs=1.5)
        assert [each.role for each in op.channels] == ["weight"]


def _decibels(expected: Tensor, given: Tensor) -> float:
    error = (given.double() - expected.double()).square().sum()
    return float(10 * torch.log10(expected.double().square().sum() / error))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("inputs", [128, 192, 96], ids=["128", "64", "32"])
@pytest.mark.parametrize(
    ("dtype", "least_db"),
    [(torch.float32, 110.0), (torch.bfloat16, 65.0), (torch.float16, 80.0)],
    ids=str,
)
def test_four_bits_are_dequantized_once_to_the_values_of_the_kernel(
    dtype: torch.dtype, least_db: float, inputs: int, bias: bool
) -> None:
    # Kernels pack blocks of 64 rows, and what is left.
    layer = nn.Linear(inputs, 160, bias=bias).to(dtype)
    x = torch.randn(2, 5, inputs, dtype=dtype)
    result = quantize(layer, x, recipe="int4-weight-only")
    [node] = named(result.actual, "linear")
    quantized = result.actual.get_parameter(f"quantized_{node.name}_weight")
    # A product with the identity has a single term in every sum.
    kernel = nn.functional.linear(torch.eye(inputs, dtype=dtype), quantized).t()
    values = int4.dequantize(quantized, layer.weight)
    assert values.dtype == torch.float32
    assert torch.equal(values.to(dtype), kernel)
    # The op as it runs, and the op from reference inputs, multiply with one dequantized weight.
    comparison = merge(result.reference, result.actual)
    graph: Any = comparison.module.graph
    assert len(graph.find_nodes(op="call_function", target=int4.linear)) == 2
    assert len(graph.find_nodes(op="call_function", target=int4.dequantize)) == 1
    deployed = nn.functional.linear(x, quantized, layer.bias)
    [computed] = comparison.run((x,), {}).actual
    assert computed.dtype == dtype
    assert torch.equal(computed, deployed) or _decibels(deployed, computed) > least_db


def test_tied_weights_are_dequantized_from_one_tensor() -> None:
    model = Layers().eval()
    result = quantize(model, TOKENS, recipe="int4-weight-only")
    sources = {
        str(node.args[1].target)
        for node in result.actual.graph.find_nodes(op="call_function", target=int4.dequantize)
    }
    assert len(sources) == 2
    assert {result.actual.get_parameter(each).data_ptr() for each in sources} == {
        model.embedding.weight.data_ptr(),
        model.twice.weight.data_ptr(),
    }


def test_a_weight_whose_values_are_not_those_of_the_kernel_stays_with_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if a later version of torchao numbered the steps in another way.
    monkeypatch.setattr(int4, "_ZERO", 7)
    model, x = nn.Linear(64, 80), torch.randn(4, 64)
    result = quantize(model, x, recipe="int4-weight-only")
    [node] = named(result.actual, "linear")
    assert node.target is nn.functional.linear
    quantize_(model, int4.configuration(64))
    assert torch.equal(result.actual(x), model(x))


@pytest.mark.parametrize("recipe", CONFIGURATIONS)
def test_a_large_weight_is_quantized_in_parts(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_VALUES", 1 << 12)
    model, x = nn.Linear(64, 208), torch.randn(4, 64)
    result = quantize(model, x, recipe=recipe)
    [node] = named(result.actual, "linear")
    joined: Any = result.actual.get_parameter(f"quantized_{node.name}_weight")
    groups = {"group_size": 64} if recipe == "int4-weight-only" else {}
    quantize_(model, replace(CONFIGURATIONS[recipe], set_inductor_config=False, **groups))
    whole: Any = model.weight
    assert joined.shape == whole.shape
    names, attributes = whole.__tensor_flatten__()
    assert joined.__tensor_flatten__() == (names, attributes)
    assert all(torch.equal(getattr(joined, name), getattr(whole, name)) for name in names)
