"""What a switch is: it makes the quantized graph that a recipe would make with more ops kept in float.

The recipe itself would calibrate again. A switch rewires the graph that is there, and the values are the
same, to the bit.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from torch.fx import Graph, GraphModule, Node
from torch.fx._lazy_graph_module import _LazyGraphModule
from torch.fx.node import map_arg


class CannotSwitch(Exception):
    """The graph for these ops is not known without running the recipe."""


class Switch(Protocol):
    """Makes the graphs of a recipe with more ops kept in float."""

    @property
    def units(self) -> list[frozenset[int]]:
        """The sets of ops, by their handles, of which each can be kept in float alone, in graph order.

        They may overlap: what shares a quantizer is a unit, and so are its parts.
        """
        ...

    def graph(self, kept: Set[int]) -> GraphModule:
        """The quantized graph with more ops in float. It shares constants with the one that is there.

        Raises CannotSwitch.
        """
        ...

    def rounded_edges(self, kept: Set[int]) -> Set[tuple[str, str]]:
        """The edges that lose their quantizers, by the names of both nodes in the reference."""
        ...


def copied(model: GraphModule) -> tuple[GraphModule, dict[Node, Node]]:
    """A copy of a graph that shares its constants and bodies, and the copies of its nodes."""
    graph = Graph()
    copies: dict[Node, Node] = {}
    for node in model.graph.nodes:
        args, kwargs = map_arg((node.args, node.kwargs), copies.__getitem__)
        made = graph.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        # Shared, because the notes of a node are many, and stay as they are.
        made.meta, copies[node] = node.meta, made
    graph.set_codegen(model.graph._codegen)
    # Most copies are read node by node, and never called: their code is generated if they are.
    return _LazyGraphModule(model, graph), copies
