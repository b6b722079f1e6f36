"""Rewrites convolutions with a padding of "same" or "valid" to numbers, the form that quantizers know."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from handlens.capture.nodes import graph_modules

_aten = torch.ops.aten
_WITH_NUMBERS: dict[Any, Any] = {
    _aten.conv1d.padding: _aten.conv1d.default,
    _aten.conv2d.padding: _aten.conv2d.default,
    _aten.conv3d.padding: _aten.conv3d.default,
}


def write_paddings_as_numbers(program: ExportedProgram) -> None:
    """Replace ``padding="valid"`` and ``"same"`` of convolutions, in place, by the numbers that torch uses.

    If ``"same"`` needs more on one side than on the other, a pad op is added before the convolution.
    """
    for graph_module in graph_modules(program):
        found = [node for node in graph_module.graph.nodes if node.target in _WITH_NUMBERS]
        for node in found:
            _write_numbers(node)
        if found:
            graph_module.recompile()


def _write_numbers(node: Node) -> None:
    given = dict(zip((each.name for each in node.target._schema.arguments), node.args))  # type: ignore[union-attr]
    given |= node.kwargs
    source, weight = given["input"], given["weight"]
    assert isinstance(source, Node)
    assert isinstance(weight, Node)
    kernel = weight.meta["val"].shape[2:]
    dims = len(kernel)
    dilation = _for_each_dim(given.get("dilation", 1), dims)
    padding = [0] * dims
    if given.get("padding") == "same":
        totals = [each * (size - 1) for each, size in zip(dilation, kernel)]
        padding = [each // 2 for each in totals]
        if any(each % 2 for each in totals):
            # torch pads more on the right. The arguments of pad begin with the last dimension.
            pads = [pad for each in reversed(totals) for pad in (0, each % 2)]
            source = _padded(node, source, pads)
    stride = _for_each_dim(given.get("stride", 1), dims)
    bias, groups = given.get("bias"), given.get("groups", 1)
    node.target = _WITH_NUMBERS[node.target]
    node.args = (source, weight, bias, stride, padding, dilation, groups)
    node.kwargs = {}


def _padded(node: Node, source: Node, pads: list[int]) -> Node:
    with node.graph.inserting_before(node):
        padded = node.graph.call_function(_aten.pad.default, (source, pads), name="pad")
    value = source.meta["val"]
    with value.fake_mode:
        padded.meta = {**node.meta, "val": torch.nn.functional.pad(value, pads)}
    padded.meta.pop("tensor_meta", None)
    return padded


def _for_each_dim(value: Any, dims: int) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * dims if len(values) == 1 else values
