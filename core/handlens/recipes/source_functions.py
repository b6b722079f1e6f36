"""The ``source_fn_stack`` of nodes: which function or layer of the source an op comes from.

torchao's quantizers for Inductor find their patterns by it, and only strict export writes it. They take a
node without one for the layer in whose module it is, whatever the node computes.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

from handlens.capture.nodes import example

_aten = torch.ops.aten

# By op, the name by which the quantizers look for it. They look for modules and functions alike, but for
# activations after a linear layer by the class of the module only.
_SOURCES: dict[Any, Any] = {
    _aten.conv1d.default: torch.nn.functional.conv1d,
    _aten.conv2d.default: nn.Conv2d,
    _aten.linear.default: nn.Linear,
    _aten.batch_norm.default: nn.BatchNorm2d,
    _aten.relu.default: nn.ReLU,
    _aten.relu_.default: nn.ReLU,
    _aten.relu6.default: nn.ReLU6,
    _aten.leaky_relu.default: nn.LeakyReLU,
    _aten.leaky_relu_.default: nn.LeakyReLU,
    _aten.hardswish.default: nn.Hardswish,
    _aten.hardswish_.default: nn.Hardswish,
    _aten.silu.default: nn.SiLU,
    _aten.silu_.default: nn.SiLU,
    _aten.gelu.default: nn.GELU,
    _aten.tanh.default: nn.Tanh,
    _aten.add.Tensor: operator.add,
    _aten.add_.Tensor: operator.iadd,
}
_ADDITIONS = (_aten.add.Tensor, _aten.add_.Tensor)
_CLAMPS = (_aten.hardtanh.default, _aten.hardtanh_.default)
_RELU6_BOUNDS = (0.0, 6.0)


_LAYERS = {f"{each.__module__}.{each.__qualname__}" for each in _SOURCES.values()}
_GRU = f"{nn.GRU.__module__}.{nn.GRU.__qualname__}"


def write_source_functions(model: GraphModule) -> None:
    """Write the ``source_fn_stack`` of all nodes that Inductor's quantizers look for.

    Without it a quantizer finds next to nothing, and raises nothing. Entries of strict export are replaced,
    because their names would clash with the new ones.
    """
    for node in model.graph.nodes:
        node.meta.pop("source_fn_stack", None)
        source = _source(node)
        if source is None and _layer(node) in _LAYERS:
            # Another op in the module of a layer: the padding of a convolution is no convolution.
            source = node.target
        if source is not None:
            _write(node, source)


def hide_gru_layers(model: GraphModule) -> None:
    """Prevent quantizers from finding the ops of a ``nn.GRU``.

    torchao's copy of the XNNPACK quantizer expects a GRU with every input given and every output read. It
    raises at any other, and the GRU stays in float anyway.
    """
    for node in model.graph.nodes:
        sources = node.meta.get("source_fn_stack") or [()]
        if nn.GRU in sources[-1] or _layer(node) == _GRU:
            _write(node, node.target)


def _write(node: Node, source: Any) -> None:
    node.meta["source_fn_stack"] = [(node.name, source)]


def _layer(node: Node) -> str:
    """The class of the innermost module that an op was called in."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    return str(modules[-1][1]) if modules else ""


def _source(node: Node) -> Any:
    if node.target is operator.getitem:
        # An output of a region has the module of the op inside, and would be taken for that op.
        return operator.getitem
    if node.target in _CLAMPS:
        return nn.ReLU6 if tuple(node.args[1:3]) == _RELU6_BOUNDS else nn.Hardtanh
    if node.target in _ADDITIONS and not all(map(_is_tensor, node.args[:2])):
        # Only the sum of two tensors can be fused with the layer that computes one of them.
        return node.target
    return _SOURCES.get(node.target)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Node) and isinstance(example(value), torch.Tensor)
