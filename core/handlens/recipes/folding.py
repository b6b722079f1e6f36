"""Batch norms that torchao fails to fold.

Those after grouped transposed convolutions are folded here. Those after a layer whose weight is no constant
stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.nn.utils import fuse_conv_bn_weights
from torchao.quantization.pt2e import quantize_pt2e

from handlens.capture.nodes import example, value_of

_aten = torch.ops.aten
_TRANSPOSED = (
    _aten.conv_transpose1d.default,
    _aten.conv_transpose2d.input,
    _aten.conv_transpose3d.input,
)
_FOLDS = ("_fuse_conv_bn_", "_fuse_linear_bn_")


@contextmanager
def every_batch_norm() -> Iterator[None]:
    """While the block runs, ``prepare_pt2e`` folds the batch norms that it can, and raises at none."""
    folds = {name: getattr(quantize_pt2e, name) for name in _FOLDS if hasattr(quantize_pt2e, name)}
    for name, fold in folds.items():
        setattr(quantize_pt2e, name, _where_possible(fold))
    try:
        yield
    finally:
        for name, fold in folds.items():
            setattr(quantize_pt2e, name, fold)


@contextmanager
def hidden(nodes: Iterable[Node]) -> Iterator[None]:
    """While the block runs, some nodes look to torchao like ops that it does not know."""
    targets = {node: node.target for node in nodes}
    for node in targets:
        node.target = _unknown
    try:
        yield
    finally:
        for node, target in targets.items():
            node.target = target


def _unknown(*args: Any, **kwargs: Any) -> None:
    """The target of a hidden node. It is never called."""


def _where_possible(fold: Callable[[GraphModule], None]) -> Callable[[GraphModule], None]:
    def folded(model: GraphModule) -> None:
        norms = model.graph.find_nodes(op="call_function", target=_aten.batch_norm.default)
        impossible = []
        for norm in norms:
            layer = norm.args[0]
            assert isinstance(layer, Node)
            if not _is_constant(layer, norm):
                impossible.append(norm)
            elif layer.target in _TRANSPOSED and _groups(layer) > 1:
                if _is_alone(layer):
                    _fold(model, layer, norm)
                else:
                    impossible.append(norm)
        with hidden(each for each in impossible if each.users), _dead_code_once(model.graph):
            fold(model)
        model.recompile()

    return folded


@contextmanager
def _dead_code_once(graph: Graph) -> Iterator[None]:
    """Eliminate dead code when the block ends, if torchao asks for it: it does so after each batch norm."""
    is_asked = False

    def ask(is_impure_node: object = None) -> bool:
        nonlocal is_asked
        is_asked = True
        return True

    graph.eliminate_dead_code = ask  # type: ignore[method-assign]
    try:
        yield
    finally:
        del graph.eliminate_dead_code
    if is_asked:
        graph.eliminate_dead_code()


def _is_constant(layer: Node, norm: Node) -> bool:
    """True if a batch norm has statistics, and all its parameters and those of the layer are constants."""
    mean, variance = norm.args[3:5]
    parameters = (*layer.args[1:3], *norm.args[1:5])
    return None not in (mean, variance) and all(
        each is None or (isinstance(each, Node) and each.op == "get_attr") for each in parameters
    )


def _is_alone(layer: Node) -> bool:
    """True if one node reads a layer, and no other layer has its weight."""
    weight = layer.args[1]
    assert isinstance(weight, Node)
    return len(layer.users) == 1 and len(weight.users) == 1


def _groups(layer: Node) -> int:
    groups = layer.args[6] if len(layer.args) > 6 else layer.kwargs.get("groups", 1)
    assert isinstance(groups, int)
    return groups


def _fold(model: GraphModule, layer: Node, norm: Node) -> None:
    """Fold a batch norm into a transposed convolution of several groups.

    The weight has the shape (inputs, outputs / groups, …): only its inputs are ordered by group.
    """
    groups = _groups(layer)
    source, weight, bias = (*layer.args[:3], None)[:3]
    gain, shift, mean, variance = map(_value, norm.args[1:5])
    given, epsilon = _value(weight), norm.args[7]
    assert isinstance(given, Tensor)
    assert isinstance(epsilon, float)
    of_all_outputs = torch.cat(given.chunk(groups), dim=1)
    folded, folded_bias = fuse_conv_bn_weights(
        of_all_outputs, _value(bias), mean, variance, epsilon, gain, shift, transpose=True
    )
    of_each_group = torch.cat(folded.chunk(groups, dim=1))
    with model.graph.inserting_before(layer):
        parameters = [
            _parameter(model, f"{layer.name}_folded_{name}", value, example(layer).fake_mode)
            for name, value in (("weight", of_each_group), ("bias", folded_bias))
        ]
    layer.args = (source, *parameters, *layer.args[3:])
    norm.replace_all_uses_with(layer)
    model.graph.erase_node(norm)


def _value(node: Any) -> Any:
    return None if node is None else value_of(node)


def _parameter(model: GraphModule, name: str, value: Tensor, fake_mode: FakeTensorMode) -> Node:
    model.register_parameter(name, nn.Parameter(value.detach(), requires_grad=False))
    node = model.graph.get_attr(name)
    node.meta["val"] = fake_mode.from_tensor(value, static_shapes=True)
    return node
