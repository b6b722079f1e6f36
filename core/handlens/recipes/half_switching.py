"""The switch of half precision: ``keep_float`` for more ops, in another copy of the cast graph."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from torch.fx import GraphModule, Node

from handlens.capture.handles import handle_of
from handlens.capture.nodes import graph_modules, module_of
from handlens.recipes.half_keep_float import keep_float
from handlens.recipes.recipe import without_observers


@dataclass(frozen=True)
class HalfSwitch:
    """Computes ops in float in a graph that was cast to half precision."""

    reference: GraphModule
    cast: GraphModule
    """The graph in half precision, nothing kept in float."""
    kept: frozenset[int]
    """The ops that the target itself keeps in float."""
    quantized: frozenset[int] = frozenset()
    """The ops that are in half precision."""

    @property
    def units(self) -> list[frozenset[int]]:
        """The stretches of ops of one module: between two of them, values are rounded."""
        found: list[frozenset[int]] = []
        for graph_module in graph_modules(self.reference):
            stretches: dict[Node, list[Node]] = {}
            for node in graph_module.graph.nodes:
                if handle_of(node) not in self.quantized:
                    continue
                stretches[node] = [node]
                for source in node.all_input_nodes:
                    joined = stretches.get(source)
                    if joined is None or module_of(source) != module_of(node):
                        continue
                    if joined is not stretches[node]:
                        joined.extend(stretches[node])
                        stretches.update((each, joined) for each in stretches[node])
            distinct = {id(each): each for each in stretches.values()}
            found += [_handles(each) for each in distinct.values()]
        return sorted(found, key=min)

    def rounded_edges(self, kept: Set[int]) -> Set[tuple[str, str]]:
        return frozenset()

    def graph(self, kept: Set[int]) -> GraphModule:
        model = without_observers(self.cast)
        if all_kept := self.kept | kept:
            keep_float(model, self.reference, frozenset(all_kept))
        return model


def _handles(nodes: Iterable[Node]) -> frozenset[int]:
    return frozenset(handle for node in nodes if (handle := handle_of(node)) is not None)
