"""What torchao's ``quantize_`` does to a model, done to its graph: linear layers with quantized weights.

The weights are tensor subclasses that bring their own way to compute ``linear``. The graph stays as it is
but for them, so that its ops match those of the reference by construction.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torchao.quantization import quantize_

from handlens import report
from handlens.capture import Captured
from handlens.handles import handle_of, module_paths
from handlens.loading import Subject
from handlens.recipes.keeping import kept_handles
from handlens.recipes.leftovers import (
    KEPT,
    RECURRENT,
    op_name,
    quantized_by,
    relatives,
    with_regions,
)
from handlens.recipes.recipe import Quantized, float_module

_KINDS = relatives(("linear",))


@dataclass(frozen=True)
class WeightRecipe:
    """A named configuration of ``quantize_``."""

    name: str
    make_config: Callable[[nn.Linear], Any]
    """The configuration for a layer; None if it suits none of its size. May raise UnknownRecipe."""
    describe: Callable[[Any], tuple[report.Quantizer, ...]]
    """The quantizers of a quantized weight, that of the layer's input included if it has one."""
    restriction: str = ""
    """Which layers have a configuration, in words that follow "it has 100 inputs and 10 outputs, and"."""

    def quantize(self, captured: Captured, subject: Subject) -> Quantized:
        """Raises UnknownRecipe, and whatever ``quantize_`` raises."""
        kept = kept_handles(captured, subject.keep_float)
        reference, actual = float_module(captured), float_module(captured)
        described: dict[int, tuple[report.Quantizer, ...]] = {}
        in_float: dict[int, str] = {}
        expected: set[int] = set()
        kinds: set[str] = set()
        layers = _Layers(self, subject.model)
        for node, region in list(with_regions(actual)):
            handle = handle_of(node)
            if handle is None:
                continue
            if handle in kept:
                in_float[handle] = KEPT
                continue
            if op_name(node) not in _KINDS:
                in_float[handle] = f"recipe {self.name} does not quantize it"
                continue
            weight = layers.weight(node, region)
            if isinstance(weight, str):
                in_float[handle] = weight
                expected.add(handle)
                kinds.add(op_name(node))
                continue
            _replace_weight(actual, node, weight)
            described[handle] = self.describe(weight)
        actual.recompile()
        return Quantized(
            reference,
            actual,
            () if described else tuple(sorted(kinds)),
            described,
            in_float,
            frozenset(expected),
            tuple(dict.fromkeys(map(quantized_by, layers.configs))),
        )


class _Layers:
    """The layers of a model whose weights are quantized, each once."""

    def __init__(self, recipe: WeightRecipe, model: nn.Module) -> None:
        self.configs: list[Any] = []
        """The configurations that were used."""
        self._recipe = recipe
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._weights: dict[str, Tensor | None] = {}

    def weight(self, node: Node, region: str) -> Tensor | str:
        """The quantized weight of a linear op, or why it has none."""
        if op_name(node) in RECURRENT:
            return "torchao's quantize_ takes linear layers, and no recurrent ones"
        if region:
            return f"it is inside {region}, and its weight is an input of that"
        paths, source = module_paths(node), node.args[1]
        path = paths[-1] if paths else ""
        module = self._modules.get(path)
        if isinstance(module, NonDynamicallyQuantizableLinear) or not isinstance(module, nn.Linear):
            kind = type(module)
            name = f"{kind.__module__}.Linear" if kind.__name__ == "Linear" else kind.__name__
            return f"torchao's quantize_ takes nn.Linear layers, and this one is in {name}"
        if not _is_weight_of(module, source):
            return "its weight is computed, not the parameter of the layer"
        if path not in self._weights:
            self._weights[path] = self._quantized(module)
        weight = self._weights[path]
        if weight is None:
            sizes = f"{module.in_features} inputs and {module.out_features} outputs"
            return f"it has {sizes}, and {self._recipe.restriction}"
        return weight

    def _quantized(self, layer: nn.Linear) -> Tensor | None:
        config = self._recipe.make_config(layer)
        if config is None:
            return None
        self.configs.append(config)
        # The user's own layer stays as it is.
        copy = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        copy.weight = layer.weight
        quantize_(copy, config)
        return copy.weight


def _is_weight_of(layer: nn.Linear, source: Any) -> bool:
    while isinstance(source, Node) and _casts_to_itself(source):
        source = source.args[0]
    if not isinstance(source, Node) or source.op != "get_attr":
        return False
    weight: Tensor = operator.attrgetter(str(source.target))(source.graph.owning_module)
    return weight.shape == layer.weight.shape and weight.data_ptr() == layer.weight.data_ptr()


def _casts_to_itself(node: Node) -> bool:
    """Whether a node casts a value to the type that it has."""
    if op_name(node) not in ("to", "type_as") or not isinstance(node.args[0], Node):
        return False
    before, after = node.args[0].meta.get("val"), node.meta.get("val")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    return before.dtype == after.dtype and before.device == after.device


def _replace_weight(model: GraphModule, node: Node, weight: Tensor) -> None:
    source = node.args[1]
    assert isinstance(source, Node)
    name = f"quantized_{node.name}_weight"
    model.register_parameter(name, nn.Parameter(weight, requires_grad=False))
    with model.graph.inserting_before(node):
        quantized = model.graph.get_attr(name)
    quantized.meta = dict(source.meta)
    node.replace_input_with(source, quantized)
    # The op itself decomposes before the weight is asked; the function asks it first.
    node.target = nn.functional.linear
    if not source.users:
        model.graph.erase_node(source)


def scales(scale: Tensor) -> tuple[tuple[float, float] | None, float | None]:
    """The smallest and largest scale, and the root of their mean square; None where one is not finite."""
    if not bool(torch.isfinite(scale).all()):
        return None, None
    low, high = torch.aminmax(scale.detach().double())
    return (float(low), float(high)), float(scale.double().square().mean().sqrt())
