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
from handlens.handles import graph_modules, handle_of
from handlens.loading import Subject
from handlens.recipes.keeping import kept_handles, module_paths
from handlens.recipes.recipe import Quantized, float_module


@dataclass(frozen=True)
class WeightRecipe:
    """A named configuration of ``quantize_``."""

    name: str
    make_config: Callable[[nn.Linear], Any]
    """The configuration for a layer; None if it suits none of its size. May raise UnknownRecipe."""
    describe: Callable[[Any], tuple[report.Quantizer, ...]]
    """The quantizers of a quantized weight, that of the layer's input included if it has one."""
    restriction: str = ""
    """Which layers have no configuration, in words that follow "quantized no"."""

    def quantize(self, captured: Captured, subject: Subject) -> Quantized:
        """Raises UnknownRecipe, and whatever ``quantize_`` raises."""
        kept = kept_handles(captured, subject.keep_float)
        reference, actual = float_module(captured), float_module(captured)
        described: dict[int, tuple[report.Quantizer, ...]] = {}
        weights: dict[str, Tensor | None] = {}
        left: set[str] = set()
        modules = dict(subject.model.named_modules(remove_duplicate=False))
        for graph_module in graph_modules(actual):
            for node in graph_module.graph.nodes:
                handle = handle_of(node)
                if node.target != torch.ops.aten.linear.default or handle in kept:
                    continue
                if graph_module is not actual:
                    # Its weight is an input of the body.
                    left.add("linear inside a control-flow op")
                    continue
                layer = _layer(modules, node)
                if layer is None:
                    left.add("linear")
                    continue
                path, module = layer
                if path not in weights:
                    weights[path] = self._quantized(module)
                weight = weights[path]
                if weight is None:
                    left.add(self.restriction)
                    continue
                _replace_weight(graph_module, node, weight)
                if handle is not None:
                    described[handle] = self.describe(weight)
            graph_module.recompile()
        if described:
            left.discard("linear")
        return Quantized(reference, actual, tuple(sorted(left)), described)

    def _quantized(self, layer: nn.Linear) -> Tensor | None:
        config = self.make_config(layer)
        if config is None:
            return None
        # The user's own layer stays as it is.
        copy = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        copy.weight = layer.weight
        quantize_(copy, config)
        return copy.weight


def _layer(modules: dict[str, nn.Module], node: Node) -> tuple[str, nn.Linear] | None:
    """The layer, and its path, whose weight a linear op reads, if it is one that ``quantize_`` takes."""
    paths, source = module_paths(node), node.args[1]
    module = modules.get(paths[-1]) if paths else None
    if not isinstance(module, nn.Linear) or isinstance(module, NonDynamicallyQuantizableLinear):
        return None
    if not isinstance(source, Node) or source.op != "get_attr":
        return None
    weight = operator.attrgetter(str(source.target))(source.graph.owning_module)
    same = weight.shape == module.weight.shape and weight.data_ptr() == module.weight.data_ptr()
    return (paths[-1], module) if same else None


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


def scales(scale: Tensor) -> tuple[tuple[float, float], float]:
    """The smallest and largest scale, and the root of their mean square."""
    low, high = torch.aminmax(scale.detach().double())
    return (float(low), float(high)), float(scale.double().square().mean().sqrt())
