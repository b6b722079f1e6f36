"""The comparison graph: reference and quantized graph in one, with statistics nodes between them.

For every op, in this order: the op computed in the quantized way from reference inputs, the reference op,
the quantized op, its quantizers, and a ``Recorder`` of the three results. torch.fx frees each tensor
after its last use, so a tensor dies when its last consumer and its comparison are done.

Each source of noise is charged to one op: a quantized weight, constant or model input to the ops that
read it, a quantized activation to the op whose output it is. An op that only moves values from a quantizer
to an equal one adds nothing, and is not charged for it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from handlens.comparison.quantizers import describe, limits
from handlens.comparison.statistics import Recorder, Statistics
from handlens.handles import (
    handle_of,
    is_dequantize,
    is_quantize,
    is_quantize_or_dequantize,
)
from handlens.report import Quantizer

UNUSED = "nothing reads its output"

# Ops whose output values are a selection of their input values: they commute with a quantizer.
_MOVES_VALUES = {
    "view", "_unsafe_view", "reshape", "flatten", "squeeze", "squeeze_", "unsqueeze", "unsqueeze_",
    "permute", "transpose", "transpose_", "t", "expand", "expand_as", "contiguous", "clone", "slice",
    "select", "split", "split_with_sizes", "chunk", "getitem", "max_pool1d", "max_pool2d", "max_pool3d",
    "cat", "stack", "index_select", "gather", "flip", "repeat", "pixel_shuffle", "alias",
    "unbind", "narrow", "movedim", "swapaxes", "detach", "relu", "relu_", "adaptive_max_pool2d",
}  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """One op in both graphs, and where its statistics gather."""

    handle: int
    reference: Node
    actual: Node
    recorder: Recorder
    quantizers: tuple[Quantizer, ...]


@dataclass
class Comparison:
    """A module that computes what the reference computes, and what it recorded on the way."""

    module: GraphModule
    compared: tuple[Compared, ...]
    output: Recorder
    unmatched: dict[int, str] = field(default_factory=dict)
    """Why an op of the reference was not compared, by handle."""

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        with torch.no_grad():
            self.module(*args, **kwargs)

    @property
    def output_statistics(self) -> Statistics:
        return self.output.accumulated


def merge(reference: GraphModule, actual: GraphModule) -> Comparison:
    """The comparison graph of two graphs whose nodes have debug handles.

    It is called like ``reference``, shares the parameters of both, and leaves both as they are.
    """
    return _Merger(reference, actual).merge()


class _Merger:
    def __init__(self, reference: GraphModule, actual: GraphModule) -> None:
        self._root = nn.Module()
        self._root.reference = reference
        self._root.actual = actual
        self._reference, self._actual = reference, actual
        self._graph = Graph()
        self._counterparts = dict(_counterparts(reference, actual))
        self._references = {r: a for a, r in self._counterparts.items()}
        # A copy that one side mutates in place must not be seen by the other.
        self._mutates = any(_is_mutable(node) for node in reference.graph.nodes)
        self._from_reference: dict[Node, Node] = {}
        self._from_actual: dict[Node, Node] = {}
        self._compared: list[Compared] = []

    def merge(self) -> Comparison:
        placeholders = [each for each in self._actual.graph.nodes if each.op == "placeholder"]
        for node in self._reference.graph.nodes:
            if node.op == "output":
                break
            dice = self._graph.call_function(_rng_states) if _is_random(node) else None
            before = self._before(node)
            self._throw_again(dice)
            self._from_reference[node] = self._copy(node, "reference", self._from_reference)
            self._throw_again(dice)
            if node.op == "placeholder":
                twin = placeholders.pop(0)
                self._from_actual[twin] = self._from_reference[node]
                if not placeholders and self._mutates:
                    self._own_inputs()
            elif node in self._references:
                self._compare(node, self._references[node], before)
        outputs = (_output(self._reference), _output(self._actual))
        for node in self._actual.graph.nodes:
            if node.op != "output" and not _is_guard(node):
                self._actual_copy(node)
        recorder = Recorder()
        reference_output = map_arg(outputs[0].args[0], self._from_reference.__getitem__)
        self._record(
            "output", recorder, reference_output, (self._actual_args(outputs[1].args[0]),), ()
        )
        self._graph.output(reference_output)
        self._graph.set_codegen(self._reference.graph._codegen)
        module = GraphModule(self._root, self._graph)
        unmatched = {
            handle: "it is not in the quantized graph" if node.users else UNUSED
            for node in self._reference.graph.nodes
            if (handle := handle_of(node)) is not None and node not in self._references
        }
        return Comparison(module, tuple(self._compared), recorder, unmatched)

    # -- copying -----------------------------------------------------------------------------------

    def _copy(self, node: Node, side: str, copies: dict[Node, Node]) -> Node:
        copy = self._graph.node_copy(node, copies.__getitem__)
        if node.op in ("get_attr", "call_module"):
            copy.target = f"{side}.{node.target}"
        if side == "actual" and node.op == "get_attr" and any(map(_is_mutable, node.users)):
            copy.target = self._own_state(node)
        return copy

    def _own_state(self, node: Node) -> str:
        """A copy of a tensor that both graphs hold and change: a running mean, a cache."""
        name = f"state_{node.name}"
        self._root.register_buffer(
            name, operator.attrgetter(str(node.target))(self._actual).clone()
        )
        return name

    def _throw_again(self, dice: Node | None) -> None:
        if dice is not None:
            self._graph.call_function(_set_rng_states, (dice,))

    def _own_inputs(self) -> None:
        for twin, shared in list(self._from_actual.items()):
            self._from_actual[twin] = self._graph.call_function(_clone, (shared,))

    def _actual_copy(self, node: Node) -> Node:
        """The copy of a node of the quantized graph, made now with all it needs, if it is not there."""
        if node not in self._from_actual:
            for each in node.all_input_nodes:
                self._actual_copy(each)
            self._from_actual[node] = self._copy(node, "actual", self._from_actual)
        return self._from_actual[node]

    def _actual_args(self, args: Any) -> Any:
        return map_arg(args, self._actual_copy)

    # -- comparing ---------------------------------------------------------------------------------

    def _before(self, reference: Node) -> Node | None:
        """The op computed in the quantized way from reference inputs; None if that adds no noise.

        It comes before the reference op, which may change its inputs in place.
        """
        actual = self._references.get(reference)
        if actual is None or not self._introduces(actual):
            return None
        if not any(map(_reads_constant, actual.all_input_nodes)):
            # The inputs are the reference's own, so the result is, too; only a quantizer follows.
            return None
        return self._graph.node_copy(actual, self._reference_input(_is_mutable(actual)))

    def _reference_input(self, cloned: bool) -> Callable[[Node], Node]:
        """How an input of the quantized op is found among reference values.

        A mutable op gets copies of them: it is run beside the reference op.
        """

        def find(source: Node) -> Node:
            if _reads_constant(source):
                return self._actual_copy(source)
            through = source
            while is_quantize_or_dequantize(through):
                through = through.args[0]  # type: ignore[assignment]
            if through in self._counterparts:
                found = self._from_reference[self._counterparts[through]]
            else:
                return self._actual_copy(source)
            return self._graph.call_function(_clone, (found,)) if cloned else found

        return find

    def _introduces(self, actual: Node) -> bool:
        if any(map(_reads_constant, actual.all_input_nodes)):
            return True
        return any(not _only_moves(actual, each) for each in _quantizers(actual))

    def _compare(self, reference: Node, actual: Node, before: Node | None) -> None:
        handle = handle_of(reference)
        assert handle is not None
        raw = self._actual_copy(actual)
        accumulated: list[Node] = []
        introduced: list[Node] = []
        described: list[Quantizer] = []
        plain = before if before is not None else self._from_reference[reference]
        for quantize in _quantizers(actual):
            dequantize = next(each for each in quantize.users if is_dequantize(each))
            accumulated.append(self._actual_copy(dequantize))
            described.append(describe(quantize, "output"))
            if not _only_moves(actual, quantize):
                introduced.append(self._requantize(plain, quantize, dequantize))
        if not introduced and before is not None:
            introduced.append(before)
        for source in actual.all_input_nodes:
            if is_dequantize(source) and _reads_constant(source):
                role = "weight" if _origin(source).op == "get_attr" else "input"
                described.append(describe(source, role))  # type: ignore[arg-type]
        output = next((each for each in described if each.role == "output"), None)
        recorder = Recorder(limits(output) if output is not None else None)
        self._record(
            f"handle_{handle}",
            recorder,
            self._from_reference[reference],
            tuple(accumulated) or (raw,),
            tuple(introduced),
        )
        self._compared.append(Compared(handle, reference, actual, recorder, tuple(described)))

    def _requantize(self, value: Node, quantize: Node, dequantize: Node) -> Node:
        """``value`` through a copy of a quantizer."""
        for each in (*quantize.all_input_nodes[1:], *dequantize.all_input_nodes[1:]):
            self._actual_copy(each)
        quantized = self._graph.node_copy(
            quantize, lambda each: value if each is quantize.args[0] else self._from_actual[each]
        )
        return self._graph.node_copy(
            dequantize, lambda each: quantized if each is quantize else self._from_actual[each]
        )

    def _record(
        self, name: str, recorder: Recorder, reference: Any, accumulated: Any, introduced: Any
    ) -> None:
        setattr(self._root, name, recorder)
        self._graph.call_module(name, (reference, accumulated, introduced))


def _counterparts(reference: GraphModule, actual: GraphModule) -> Iterator[tuple[Node, Node]]:
    """Pairs of (actual, reference) nodes that compute the same op.

    Where a rewrite made several nodes of one op, the last of each side has its result.
    """
    by_handle = {
        handle: node
        for node in reference.graph.nodes
        if (handle := handle_of(node)) is not None and not is_quantize_or_dequantize(node)
    }
    last = {
        handle: node
        for node in actual.graph.nodes
        if (handle := handle_of(node)) is not None and not is_quantize_or_dequantize(node)
    }
    for handle, node in last.items():
        if handle in by_handle:
            yield node, by_handle[handle]


def _quantizers(node: Node) -> list[Node]:
    """The quantize nodes of an op's output that are read again."""
    return [
        each
        for each in node.users
        if is_quantize(each) and each.args[0] is node and any(map(is_dequantize, each.users))
    ]


def _origin(node: Node) -> Node:
    while is_quantize_or_dequantize(node):
        node = node.args[0]  # type: ignore[assignment]
    return node


def _reads_constant(node: Node) -> bool:
    """Whether a node is the dequantized value of a weight, a constant or an input of the model."""
    return is_dequantize(node) and _origin(node).op in ("get_attr", "placeholder")


def _only_moves(node: Node, quantize: Node) -> bool:
    """Whether all that ``node`` does is to take values from one quantizer to an equal one."""
    if _op_name(node) not in _MOVES_VALUES:
        return False
    mine = _parameters(quantize)
    inputs = [each for each in node.all_input_nodes if is_dequantize(each)]
    return bool(inputs) and all(_parameters(each) == mine for each in inputs)


def _parameters(node: Node) -> tuple[Any, ...]:
    return tuple(node.args[1:6])


def _op_name(node: Node) -> str:
    if node.target is operator.getitem:
        return "getitem"
    return node.target._opname if isinstance(node.target, torch._ops.OpOverload) else ""


def _is_mutable(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _is_random(node: Node) -> bool:
    return (
        isinstance(node.target, torch._ops.OpOverload)
        and torch.Tag.nondeterministic_seeded in node.target.tags
    )


def _rng_states() -> list[torch.Tensor]:
    """What both sides must start from, so that they throw the same dice."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def _set_rng_states(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    torch.cuda.set_rng_state_all(states[1:])


def _is_guard(node: Node) -> bool:
    return node.op == "call_module" and not node.users


def _output(model: GraphModule) -> Node:
    node: Node = next(iter(reversed(model.graph.nodes)))
    return node


def _clone(value: Any) -> Any:
    return torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, value)
