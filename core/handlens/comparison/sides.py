"""The two sides of a comparison graph: how the nodes of each graph are copied into it.

Each side has its own copy of memory that its ops change in place, such as a buffer that both graphs write,
or an input that one of them overwrites. Memory that no op changes is shared, and values that depend on
constants only are computed once.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from handlens.capture.nodes import is_dequantize, is_quantize, value_of
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.comparison.memory import Memory
from handlens.comparison.ops import has_effect, is_random, owns_memory
from handlens.comparison.quantized_values import constant_value, unquantized
from handlens.comparison.quantizers import fake_quantizer
from handlens.comparison.random_state import RandomStates, Side


class Destination:
    """The comparison graph while it is built, and the root module of its submodules and constants."""

    def __init__(self, random_states: RandomStates) -> None:
        self.graph = Graph()
        self.root = nn.Module()
        self.root.random_states = random_states
        self.random_states = random_states

    def call(self, function: Any, *args: Any) -> Node:
        return self.graph.call_function(function, args)

    def add_module(self, name: str, module: nn.Module) -> str:
        self.root.add_module(name, module)
        return name

    def draw_for(self, side: Side) -> None:
        """Let the nodes that are added next draw random numbers as ``side`` would."""
        self.graph.call_module("random_states", (side,))


class ReferenceSide:
    """The reference, copied node by node in its own order."""

    _name: Side = "reference"

    def __init__(self, model: GraphModule, destination: Destination) -> None:
        self.model = model
        self.memory = Memory(model)
        self.copies: dict[Node, Node] = {}
        self._destination = destination
        self._own: dict[int, Any] = {}
        destination.root.add_module(self._name, model)

    def copy(self, node: Node) -> Node:
        """The copy of a node whose inputs have copies; it is added now if there is none."""
        if node not in self.copies:
            self.copies[node] = self._plain_copy(node)
        return self.copies[node]

    def _plain_copy(self, node: Node) -> Node:
        if is_random(node):
            self._destination.draw_for(self._name)
        made = self._destination.graph.node_copy(node, self.copies.__getitem__)
        if node.op in ("get_attr", "call_module"):
            made.target = f"{self._name}.{node.target}"
        if node.op == "get_attr" and self.memory.is_written(node):
            made.target = f"{self._name}_state_{node.name}"
            # With one memo, two names of one memory become two names of one copy.
            own = copy.deepcopy(value_of(node).detach(), self._own)
            self._destination.root.register_buffer(made.target, own)
        return made


class ActualSide(ReferenceSide):
    """The quantized graph, whose nodes are copied on demand, in an order that effects allow.

    With ``shortcuts``, a quantize op and its dequantize ops become one module, and values that depend on
    constants only are computed beforehand. The values are the same, to the bit.
    """

    _name: Side = "actual"

    def __init__(self, model: GraphModule, destination: Destination, shortcuts: bool) -> None:
        super().__init__(model, destination)
        self.constants: dict[Node, Tensor] = {}
        """The values of dequantize nodes that were computed beforehand."""
        self._shortcuts = shortcuts
        self._snapshots: dict[Node, Node] = {}
        self._fused = {
            node: quantizer
            for node in model.graph.nodes
            if is_quantize(node) and (quantizer := self._fake_quantizer(node)) is not None
        }
        # A fused quantize op comes with its dequantize ops.
        self._order = [
            node for node in model.graph.nodes if node.op != "output" and node not in self._fused
        ]
        self._place = {node: place for place, node in enumerate(self._order)}
        self._effects = [place for place, node in enumerate(self._order) if has_effect(node)]
        self._copied = 0

    def copy(self, node: Node) -> Node:
        """The copy of a node; it is added now, after all nodes that it needs, if there is none."""
        if node not in self.copies:
            for each in self._before(node):
                self.copy(each)
            self.copies[node] = self._new_copy(node)
            if node.op != "get_attr" and self.memory.is_written(node):
                self._snapshots[node] = self._destination.call(clone, self.copies[node])
        return self.copies[node]

    def value(self, node: Node) -> Node:
        """The result of a node as it is before an op changes it in place."""
        made = self.copy(node)
        return self._snapshots.get(node, made)

    def finish(self) -> None:
        """Copy the nodes that have an effect and that no other node needed."""
        for node in list(self._order):
            if has_effect(node):
                self.copy(node)

    def _before(self, node: Node) -> list[Node]:
        """The nodes to copy before ``node``, its inputs not counted.

        A node can be copied as soon as its inputs are, unless a node in between has an effect: it changes
        memory in place, or draws random numbers. Then all nodes up to that one come first.
        """
        place = self._place.get(node, len(self._order))
        end = max((each + 1 for each in self._effects if each < place), default=0)
        if has_effect(node):
            end = place
        first, self._copied = self._copied, max(self._copied, end)
        return self._order[first:end]

    def _new_copy(self, node: Node) -> Node:
        if is_dequantize(node):
            if (value := self._constant_value(node)) is not None:
                self.constants[node] = value
                name = f"constant_{node.name}"
                self._destination.root.register_buffer(name, value)
                return self._destination.graph.get_attr(name)
            quantize = node.args[0]
            assert isinstance(quantize, Node)
            if quantize in self._fused:
                return self._fake_quantized(quantize)
        for each in node.all_input_nodes:
            self.copy(each)
        return self._plain_copy(node)

    def _constant_value(self, dequantize: Node) -> Tensor | None:
        written = map(self.memory.is_written, (dequantize, unquantized(dequantize)))
        if not self._shortcuts or any(written):
            return None
        return constant_value(dequantize)

    def _fake_quantizer(self, quantize: Node) -> FakeQuantizer | None:
        # One module has one result, and a write to one dequantized value must not reach the others.
        names = (quantize.args[0], *quantize.users)
        if not self._shortcuts or any(
            self.memory.is_written(each) for each in names if isinstance(each, Node)
        ):
            return None
        return fake_quantizer(quantize) if all(map(is_dequantize, quantize.users)) else None

    def _fake_quantized(self, quantize: Node) -> Node:
        """One node for a quantize node and all its dequantize nodes."""
        source = quantize.args[0]
        assert isinstance(source, Node)
        name = self._destination.add_module(f"fake_{quantize.name}", self._fused[quantize])
        # In place, where no other node reads the value, takes half of the memory and less time.
        in_place = owns_memory(source) and len(source.users) == 1
        made = self._destination.graph.call_module(
            name, (self.copy(source),), {"in_place": True} if in_place else {}
        )
        for each in quantize.users:
            if is_dequantize(each):
                self.copies[each] = made
        return made


def clone(value: Any) -> Any:
    """A copy of a tensor, or of all tensors in a structure."""
    return torch.utils._pytree.tree_map_only(Tensor, torch.clone, value)
