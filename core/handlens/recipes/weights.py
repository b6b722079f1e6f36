"""Weight quantization: torchao's ``quantize_``, applied to the linear layers of an exported graph.

The quantized weights are tensor subclasses that compute ``linear`` themselves. Nothing else in the graph
changes, so its ops match those of the reference. Where the kernel of a subclass is slow, a node dequantizes
the weight for all ops that multiply with it, if the products are those of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torchao.quantization import quantize_

from handlens import report
from handlens.advice_report import ChangeKind
from handlens.capture.export import Captured
from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    bodies,
    example,
    graph_modules,
    module_of,
    op_name,
    operands,
    value_of,
)
from handlens.loading.subject import Subject
from handlens.recipes.adjusting import adjustments, refusal
from handlens.recipes.entries import kept_handles
from handlens.recipes.leftovers import (
    KEPT,
    RECURRENT,
    quantized_by,
    relatives,
)
from handlens.recipes.recipe import CannotQuantize, Quantized, float_module
from handlens.recipes.regions import CALLED_ONCE, with_regions
from handlens.recipes.weight_switching import WeightSwitch

_KINDS = relatives(("linear",))

# The hooks by which older functions of torch.nn.utils compute a weight: the hook's attribute that has the
# weight's name, and the call that removes the hook.
_HOOKS: dict[type, tuple[str, str]] = {
    WeightNorm: ("name", "torch.nn.utils.remove_weight_norm(layer)"),
    SpectralNorm: ("name", "torch.nn.utils.remove_spectral_norm(layer)"),
    BasePruningMethod: ("_tensor_name", "torch.nn.utils.prune.remove(layer, 'weight')"),
}


@dataclass(frozen=True)
class Dequantization:
    """How to dequantize weights whose kernel is slow, and to multiply with them as the kernel does."""

    dequantize: Callable[[Any, Tensor], Tensor]
    """Gives the values that the kernel multiplies with, from a quantized weight and the weight in float."""
    linear: Callable[..., Tensor]
    """Gives what ``nn.functional.linear(x, quantized, bias)`` does, to the rounding of its sums.

    The arguments are ``x``, ``quantized``, the values that it was dequantized to, and, if there is one,
    ``bias``."""
    agrees: Callable[[Any, Tensor], bool]
    """True if a product with some rows of the quantized weight is the kernel's."""


@dataclass(frozen=True)
class WeightFormat:
    """A number format of the weights of linear layers."""

    make_config: Callable[[nn.Linear], Any]
    """The configuration for a layer; None if there is none for its size. May raise UnknownRecipe."""
    describe: Callable[[Any], tuple[report.Quantizer, ...]]
    """Describes the quantizer of a quantized weight, and that of the layer's input if there is one."""
    join: Callable[[Sequence[Any]], Tensor]
    """Joins quantized weights, each of some rows of one weight."""
    dequantization: Dequantization | None = None
    """What is faster than the kernel of a quantized weight; None if the kernel is fast."""


# How many values are quantized in one go, in whole blocks of as many rows as kernels pack together.
_VALUES = 1 << 18
_ROWS = 64


@dataclass(frozen=True)
class WeightRecipe:
    """Quantizes with a configuration of torchao's ``quantize_``."""

    name: str
    format: WeightFormat
    restriction: str = ""
    """Which sizes have a configuration, in words that follow "it has 100 inputs and 10 outputs, and"."""
    thresholds: report.Thresholds = field(default_factory=report.Thresholds)
    adjusted: Mapping[ChangeKind, WeightFormat] = field(default_factory=dict)
    """The formats that ``adjust`` can ask for instead."""

    def quantize(self, captured: Captured, subject: Subject) -> Quantized:
        """Quantize the weights of linear ops.

        Raises InvalidTarget, CannotQuantize, UnknownRecipe, and whatever ``quantize_`` raises.
        """
        kept = kept_handles(captured, subject.keep_float)
        wanted = adjustments(captured, subject)
        reference, actual = float_module(captured), float_module(captured)
        described: dict[int, tuple[report.Quantizer, ...]] = {}
        accepted: set[tuple[int, ChangeKind]] = set()
        alternatives: dict[int, tuple[ChangeKind, ...]] = {}
        in_float: dict[int, str] = {}
        expected: set[int] = set()
        kinds: set[str] = set()
        layers = _Layers(self, subject.model, actual)
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
            formats = layers.formats(node)
            asked = (formats.get(each.kind) for each in wanted if handle in each.handles)
            chosen = [self.format, *(each for each in asked if each is not None)][-1]
            weight = layers.weight(node, region, chosen)
            if isinstance(weight, str):
                in_float[handle] = weight
                expected.add(handle)
                kinds.add(op_name(node))
                continue
            _replace_weight(node, weight, layers.dequantization(node, chosen))
            described[handle] = chosen.describe(weight)
            accepted |= {(handle, kind) for kind in formats}
            alternatives[handle] = layers.alternatives(node, chosen)
        for each in wanted:
            there = each.handles - kept
            if there and not any((handle, each.kind) in accepted for handle in there):
                possible = (kind for handle in there for kind in alternatives.get(handle, ()))
                raise refusal(each, self.name, possible)
        for graph_module in graph_modules(actual):
            _forget_types(graph_module)
            graph_module.recompile()
        return Quantized(
            reference,
            actual,
            () if described else tuple(sorted(kinds)),
            described,
            in_float,
            frozenset(expected),
            tuple(dict.fromkeys(map(quantized_by, layers.configs))),
            alternatives=alternatives,
            switch=lambda: WeightSwitch(reference, actual, described),
        )


class _Layers:
    """Quantizes the weights of the layers of a model, each once."""

    def __init__(self, recipe: WeightRecipe, model: nn.Module, program: GraphModule) -> None:
        self.configs: list[Any] = []
        """The configurations that were used."""
        self._recipe = recipe
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._weights: dict[tuple[str, WeightFormat], Tensor | None] = {}
        self._agree: dict[tuple[str, WeightFormat], bool] = {}
        self._called = {program}
        """The graphs in which every op runs once: the program and its regions."""
        self._operands: dict[Node, Any] = {}
        """By input of a region, the argument in the graph that calls the region."""
        for graph_module in graph_modules(program):
            for caller in graph_module.graph.nodes:
                if graph_module in self._called and caller.target in CALLED_ONCE:
                    for body in bodies(caller):
                        self._called.add(value_of(body))
                        self._operands |= operands(caller, body)

    def formats(self, node: Node) -> dict[ChangeKind, WeightFormat]:
        """By kind of change, the formats that the layer of a linear op can have."""
        layer = self._modules.get(module_of(node))
        if not isinstance(layer, nn.Linear):
            return {}
        formats = self._recipe.adjusted.items()
        return {kind: each for kind, each in formats if each.make_config(layer) is not None}

    def alternatives(self, node: Node, now: WeightFormat) -> tuple[ChangeKind, ...]:
        """The kinds of change that give a quantized linear op another format than it has now."""
        layer: Any = self._modules[module_of(node)]
        formats = self.formats(node).items()
        config = now.make_config(layer)
        return tuple(kind for kind, each in formats if each.make_config(layer) != config)

    def weight(self, node: Node, region: str, chosen: WeightFormat) -> Tensor | str:
        """The quantized weight of a linear op, or why it has none.

        Raises CannotQuantize for an op whose layer could not be called after ``quantize_``.
        """
        if op_name(node) in RECURRENT:
            return "torchao's quantize_ takes linear layers, and no recurrent ones"
        if node.graph.owning_module not in self._called:
            return (
                f"it is inside {region}, and control flow does not run with the weights of torchao's "
                "quantize_"
            )
        path = module_of(node)
        module = self._modules.get(path)
        if isinstance(module, NonDynamicallyQuantizableLinear) or not isinstance(module, nn.Linear):
            kind = type(module)
            name = f"{kind.__module__}.Linear" if kind.__name__ == "Linear" else kind.__name__
            return f"torchao's quantize_ takes nn.Linear layers, and this one is in {name}"
        computes = _what_computes_weight(module)
        if not computes and not self._is_weight_of(module, node.args[1]):
            return "its weight is computed, not the parameter of the layer"
        if (path, chosen) not in self._weights:
            config = chosen.make_config(module)
            if config is not None and computes:
                what, remedy = computes
                raise CannotQuantize(
                    f"{what} computes the weight of {path or 'the model'} at every call, and torchao's "
                    f"quantize_ takes parameters only. Call {remedy} first.",
                    node,
                )
            self._weights[path, chosen] = self._quantized(module, config, chosen)
        weight = self._weights[path, chosen]
        if weight is None:
            sizes = f"{module.in_features} inputs and {module.out_features} outputs"
            return f"it has {sizes}, and {self._recipe.restriction}"
        return weight

    def _quantized(self, layer: nn.Linear, config: Any, chosen: WeightFormat) -> Tensor | None:
        if config is None:
            return None
        self.configs.append(config)
        # Quantizing takes several times the memory of what is quantized.
        rows = max(1, _VALUES // (layer.in_features * _ROWS)) * _ROWS
        parts = [_quantized_rows(each, config) for each in torch.split(layer.weight.detach(), rows)]
        return parts[0] if len(parts) == 1 else chosen.join(parts)

    def dequantization(self, node: Node, chosen: WeightFormat) -> Dequantization | None:
        """How to dequantize the quantized weight of a linear op; None if its kernel multiplies with it."""
        how, path = chosen.dequantization, module_of(node)
        if how is None:
            return None
        if (path, chosen) not in self._agree:
            layer: Any = self._modules[path]
            self._agree[path, chosen] = how.agrees(self._weights[path, chosen], layer.weight)
        return how if self._agree[path, chosen] else None

    def _is_weight_of(self, layer: nn.Linear, source: Any) -> bool:
        while isinstance(source, Node) and source.op != "get_attr":
            source = source.args[0] if _casts_to_itself(source) else self._operands.get(source)
        weight = value_of(source) if isinstance(source, Node) else None
        return (
            isinstance(weight, Tensor)
            and weight.shape == layer.weight.shape
            and weight.data_ptr() == layer.weight.data_ptr()
        )


def _quantized_rows(weight: Tensor, config: Any) -> Tensor:
    # The user's own layer stays as it is.
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    quantize_(layer, config)
    return layer.weight


def _what_computes_weight(layer: nn.Linear) -> tuple[str, str] | None:
    """Find what computes the weight of a layer at every call, and the call that removes it."""
    if parametrize.is_parametrized(layer, "weight"):
        parametrizations = layer.parametrizations
        assert isinstance(parametrizations, nn.ModuleDict)
        kinds = (type(each).__name__.strip("_") for each in parametrizations["weight"].children())
        remedy = "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
        return " and ".join(kinds), remedy
    for hook in layer._forward_pre_hooks.values():
        for kind, (name, remedy) in _HOOKS.items():
            if isinstance(hook, kind) and getattr(hook, name) == "weight":
                return type(hook).__name__, remedy
    return None


def _casts_to_itself(node: Node) -> bool:
    """True if a node casts a value to the type that the value has already."""
    if op_name(node) not in ("to", "type_as") or not isinstance(node.args[0], Node):
        return False
    before, after = example(node.args[0]), example(node)
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    return before.dtype == after.dtype and before.device == after.device


def _forget_types(model: GraphModule) -> None:
    """Remove the assertions about types that export has added.

    Under autocast, a layer with a quantized weight gives another type than the layer that was exported.
    """
    for node in model.graph.find_nodes(
        op="call_function", target=torch.ops.aten._assert_tensor_metadata.default
    ):
        model.graph.erase_node(node)


def _replace_weight(node: Node, weight: Tensor, dequantization: Dequantization | None) -> None:
    model, source = node.graph.owning_module, node.args[1]
    assert model is not None
    assert isinstance(source, Node)
    name = f"quantized_{node.name}_weight"
    model.register_parameter(name, nn.Parameter(weight, requires_grad=False))
    with model.graph.inserting_before(node):
        quantized = model.graph.get_attr(name)
    quantized.meta = dict(source.meta)
    if dequantization is not None:
        with model.graph.inserting_before(node):
            values = model.graph.call_function(dequantization.dequantize, (quantized, source))
        node.args = (node.args[0], quantized, values, *node.args[2:])
        node.target = dequantization.linear
        return
    node.replace_input_with(source, quantized)
    # The exported op decomposes before the tensor subclass is dispatched to; the function dispatches first.
    node.target = nn.functional.linear
    if not source.users and source.op != "placeholder":
        model.graph.erase_node(source)


def scales(scale: Tensor) -> tuple[tuple[float, float] | None, float | None]:
    """The smallest and largest scale, and the root of their mean square; None if a scale is not finite."""
    if not bool(torch.isfinite(scale).all()):
        return None, None
    low, high = torch.aminmax(scale.detach().double())
    return (float(low), float(high)), float(scale.double().square().mean().sqrt())
