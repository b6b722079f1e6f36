"""Activation functions of a comparison graph overwrite inputs that nothing reads after them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.fx import Graph, Node

from handlens.comparison.memory import aliased_by
from handlens.comparison.ops import owns_memory

_aten = torch.ops.aten
_IN_PLACE = {
    _aten.relu.default: _aten.relu_.default,
    _aten.relu6.default: _aten.relu6_.default,
    _aten.hardtanh.default: _aten.hardtanh_.default,
    _aten.silu.default: _aten.silu_.default,
    _aten.hardswish.default: _aten.hardswish_.default,
    _aten.gelu.default: _aten.gelu_.default,
}


def activate_in_place(graph: Graph) -> None:
    """Compute activation functions in place where no later node reads their input, by whatever name."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.target not in _IN_PLACE or not owns_memory(node.args[0]):
            continue
        if all(place[each] <= place[node] for each in _readers(node.args[0], node)):
            node.target = _IN_PLACE[node.target]


def _readers(source: Node, apart_from: Node) -> Iterator[Node]:
    """The nodes that read the memory of ``source``, under its own name or under another.

    Names that ``apart_from`` gives to that memory are left out.
    """
    names = [source]
    while names:
        name = names.pop()
        for user in name.users:
            yield user
            if user is not apart_from and name in aliased_by(user):
                names.append(user)
