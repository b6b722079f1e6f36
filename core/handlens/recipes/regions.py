"""The bodies of control-flow ops: what people call the region of code that an op is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import GraphModule, Node

from handlens.capture.nodes import bodies, value_of

_higher_order = torch.ops.higher_order

CALLED_ONCE = frozenset(
    (
        _higher_order.wrap_with_set_grad_enabled,
        _higher_order.wrap_with_autocast,
        _higher_order.tag_activation_checkpoint,
    )
)
"""The ops that call their body once, as it is."""

_NAMES: dict[Any, str] = {
    _higher_order.cond: "a branch of torch.cond",
    _higher_order.while_loop: "the body of a while_loop",
    _higher_order.map_impl: "the body of a map",
    _higher_order.scan: "the body of a scan",
    _higher_order.wrap_with_autocast: "torch.autocast",
    _higher_order.tag_activation_checkpoint: "a checkpointed region",
}


def with_regions(model: GraphModule, region: str = "") -> Iterator[tuple[Node, str]]:
    """Every node of a graph and of the bodies it calls, and the name of the innermost region it is in."""
    for node in model.graph.nodes:
        yield node, region
        for body in bodies(node):
            yield from with_regions(value_of(body), _name(node))


def _name(node: Node) -> str:
    if node.target is _higher_order.wrap_with_set_grad_enabled:
        return "torch.enable_grad()" if node.args[0] else "torch.no_grad()"
    return _NAMES.get(node.target, "another op")
