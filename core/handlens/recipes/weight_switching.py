"""The switch of recipes that quantize weights: a layer gets its float weight back."""

from __future__ import annotations

from collections.abc import Iterable, Set

from torch.fx import GraphModule, Node

from handlens.capture.handles import handle_of
from handlens.capture.nodes import graph_modules, value_of
from handlens.recipes.recipe import without_observers


class WeightSwitch:
    """Replaces layers with quantized weights by those of the reference, in bodies of control flow, too."""

    def __init__(self, reference: GraphModule, actual: GraphModule, handles: Iterable[int]) -> None:
        self._reference, self._actual = reference, actual
        self._handles = frozenset(handles)

    @property
    def units(self) -> list[frozenset[int]]:
        return [frozenset((each,)) for each in sorted(self._handles)]

    def rounded_edges(self, kept: Set[int]) -> Set[tuple[str, str]]:
        return frozenset()

    def graph(self, kept: Set[int]) -> GraphModule:
        model = without_observers(self._actual)
        for mine, theirs in zip(graph_modules(model), graph_modules(self._reference)):
            restored = _Restored(mine)
            for node in theirs.graph.nodes:
                if handle_of(node) in kept & self._handles:
                    restored.replace(node)
            mine.recompile()
        return model


class _Restored:
    """A quantized graph while ops of the reference take the place of its own."""

    def __init__(self, model: GraphModule) -> None:
        self._model = model
        self._nodes = {node.name: node for node in model.graph.nodes}

    def replace(self, node: Node) -> None:
        """Compute what ``node``, of the reference, computes."""
        mine = self._nodes[node.name]
        with self._model.graph.inserting_before(mine):
            copy = self._model.graph.node_copy(node, self._find)
        mine.replace_all_uses_with(copy)
        sources = mine.all_input_nodes
        self._model.graph.erase_node(mine)
        for source in sources:
            # What the recipe has added for the op alone, to dequantize its weight.
            if handle_of(source) is None and source.op == "call_function" and not source.users:
                self._model.graph.erase_node(source)
        self._nodes[node.name] = copy

    def _find(self, node: Node) -> Node:
        """The node that computes what ``node`` does; added now if only the float weight needs it."""
        if node.name not in self._nodes:
            copy = self._model.graph.node_copy(node, self._find)
            if node.op == "get_attr":
                copy.target = f"float_{node.name}"
                setattr(self._model, copy.target, value_of(node))
            self._nodes[node.name] = copy
        found: Node = self._nodes[node.name]
        return found
