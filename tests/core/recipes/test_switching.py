"""A switched graph computes what the recipe gives with ``keep_float``, to the bit, whatever the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from handlens import recipes
from handlens.loading.subject import Subject
from handlens.recipes import Quantized

from ..quantizing import captured

PT2E = ["x86", "xnnpack", "arm", "x86+embedding"]
OTHERS = ["int8-weight-only", "int8-dynamic", "int4-weight-only", "bf16", "fp16"]
WIDTH = 32

Layer = tuple[str, int, int]
"""What a layer does, and the two earlier values that it may read, counted from the last one."""


class Network(nn.Module):
    """A random network of branches, sums, concatenations and residual connections."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = layers
        self.modules_of = nn.ModuleList(self._module(kind) for kind, _, _ in layers)

    @staticmethod
    def _module(kind: str) -> nn.Module:
        if kind == "conv_bn":
            conv = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(WIDTH), nn.ReLU())
        if kind == "conv":
            return nn.Conv2d(WIDTH, WIDTH, 1)
        if kind in ("cat", "token"):
            return nn.Conv2d(2 * WIDTH, WIDTH, 1)
        if kind == "linear":
            return nn.Linear(WIDTH, WIDTH)
        if kind == "position":
            return nn.Embedding(4, WIDTH)
        return nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for (kind, one, other), module in zip(self.layers, self.modules_of):
            first, second = values[-1 - one % len(values)], values[-1 - other % len(values)]
            values.append(self._step(kind, module, first, second))
        return values[-1] + values[len(values) // 2]

    @staticmethod
    def _step(kind: str, module: nn.Module, first: Tensor, second: Tensor) -> Tensor:
        if kind == "add":
            return first + second
        if kind == "relu6":
            return nn.functional.relu6(first)
        if kind == "in_place":
            return torch.relu_(first * 2.0)
        if kind == "pool":
            return nn.functional.max_pool2d(first, 3, stride=1, padding=1)
        if kind == "gate":
            return first * torch.sigmoid(second)
        if kind == "position":
            # torchao computes beforehand what depends on constants alone.
            return first + module(torch.arange(4)).t().unsqueeze(-1)
        if kind == "token":
            assert isinstance(module.bias, Tensor)
            constant = module.bias.view(1, -1, 1, 1).expand_as(first) * 2.0
            return module(torch.cat((first, constant), dim=1))
        if kind == "cat":
            return module(torch.cat((first, second), dim=1))
        if kind == "linear":
            return module(first.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return module(first)


KINDS = [
    "conv",
    "conv_bn",
    "linear",
    "cat",
    "add",
    "relu6",
    "in_place",
    "pool",
    "gate",
    "position",
    "token",
]
layers = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=6
)
examples = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Case:
    """A network and a recipe, and what the recipe makes of both."""

    def __init__(self, model: nn.Module, recipe: str, batches: list[Any]) -> None:
        self.recipe = recipes.resolve(recipe)
        self.program = captured(model, *batches[0])
        self.subject = Subject(model, batches[0], calibration=batches)
        self.inputs = batches[0]
        self.quantized = self.recipe.quantize(self.program, self.subject)
        assert self.quantized.switch is not None
        self.switch = self.quantized.switch()

    def kept(self, handles: frozenset[int]) -> Quantized:
        """What the recipe gives with these ops in float, from a calibration of its own."""
        batches = list(self.subject.calibration)
        return self._quantized(
            replace(self.subject, keep_float=tuple(handles), calibration=batches)
        )

    def _quantized(self, subject: Subject) -> Quantized:
        return self.recipe.quantize(self.program, subject)

    def agree(self, handles: frozenset[int]) -> bool:
        # The batches are those of the first run.
        again = self._quantized(replace(self.subject, keep_float=tuple(handles)))
        models = (self.kept(handles).actual, again.actual, self.switch.graph(handles))
        with torch.no_grad():
            alone, after_another, switched = (model(*self.inputs) for model in models)
        return torch.equal(alone, after_another) and torch.equal(alone, switched)


def network(description: list[Layer]) -> tuple[nn.Module, list[Any]]:
    torch.manual_seed(0)
    model = Network(description).eval()
    # Several batches, so that ranges and histograms are merged; the branches differ in size.
    return model, [(torch.randn(2, WIDTH, 4, 4) * scale,) for scale in (1.0, 3.0)]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", PT2E)
@examples
@given(description=layers, data=st.data())
def test_calibrated_recipes(recipe: str, description: list[Layer], data: st.DataObject) -> None:
    model, batches = network(description)
    case = Case(model, recipe, batches)
    everything = sorted(frozenset().union(*case.switch.units))
    if not everything:
        return
    # A unit, and any ops at all: an observer that several share may lose one of the tensors that it saw.
    assert case.agree(data.draw(st.sampled_from(case.switch.units)))
    assert case.agree(frozenset(data.draw(st.sets(st.sampled_from(everything), max_size=4))))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", OTHERS)
@examples
@given(description=layers, data=st.data())
def test_other_recipes(recipe: str, description: list[Layer], data: st.DataObject) -> None:
    model, batches = network(description)
    case = Case(model, recipe, batches)
    if case.switch.units:
        chosen = data.draw(st.sets(st.sampled_from(case.switch.units), min_size=1, max_size=3))
        assert case.agree(frozenset().union(*chosen))


@pytest.mark.parametrize("kind", ["position", "token"])
def test_what_depends_on_constants_alone_can_be_kept_in_float(kind: str) -> None:
    model, batches = network([("conv", 0, 0), (kind, 0, 0), ("linear", 0, 0)])
    case = Case(model, "xnnpack", batches)
    for unit in case.switch.units:
        assert case.agree(unit)
        assert case.agree(frozenset().union(*case.switch.units) - unit)


def test_what_is_annotated_together_is_one_unit_and_so_is_what_shares_a_quantizer() -> None:
    model, batches = network([("conv_bn", 0, 0), ("conv", 0, 0), ("cat", 0, 1)])
    case = Case(model, "xnnpack", batches)
    names = {each.name: each.meta["custom"]["numeric_debug_handle"] for each in _ops(case)}
    units = case.switch.units
    convolution_and_relu = frozenset((names["conv2d"], names["relu"]))
    assert convolution_and_relu in units
    shared = next(each for each in units if convolution_and_relu < each)
    assert names["cat"] in shared
    assert frozenset((names["cat"],)) in units


def _ops(case: Case) -> list[Any]:
    nodes = case.quantized.reference.graph.nodes
    return [each for each in nodes if "numeric_debug_handle" in each.meta.get("custom", {})]


def test_a_target_that_keeps_ops_in_float_keeps_them_in_every_switched_graph() -> None:
    model, batches = network([("conv", 0, 0), ("conv", 0, 0), ("conv", 0, 0)])
    for recipe in ("x86", "bf16", "int8-weight-only"):
        case = Case(model, recipe, batches)
        first = case.switch.units[:1]
        if not first:
            continue
        case.subject = replace(case.subject, keep_float=tuple(first[0]))
        quantized = case.recipe.quantize(case.program, case.subject)
        assert quantized.switch is not None
        switch = quantized.switch()
        assert not any(first[0] <= each for each in switch.units)
        for unit in switch.units:
            both = case.kept(unit | first[0]).actual
            with torch.no_grad():
                assert torch.equal(switch.graph(unit)(*case.inputs), both(*case.inputs))
