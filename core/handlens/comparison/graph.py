"""The comparison graph: reference and quantized graph in one, with statistics nodes between them.

For every op, in this order: the op computed in the quantized way from reference inputs, the reference op,
the quantized op, its quantizers, and a ``Recorder`` of the results. torch.fx frees each tensor after its
last use, so a tensor dies when its last consumer and its comparison are done.

Each source of noise is charged to one op: a quantized weight, constant or model input to the ops that
read it, a quantized activation to the op whose output it is, half precision to the op that computes in it.
An op that only moves values from a quantizer to an equal one adds nothing, and is not charged for it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from handlens.comparison import nodes
from handlens.comparison.control_flow import IN_STEP, Body
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.comparison.measuring import magnitudes
from handlens.comparison.quantizers import describe, fake_quantizer, value_of
from handlens.comparison.recorder import Measurements, Recorder
from handlens.handles import handle_of, is_dequantize, is_quantize, is_quantize_or_dequantize
from handlens.report import Channels, Quantizer

UNUSED = "nothing reads its output"

_aten = torch.ops.aten
_IN_PLACE = {
    _aten.relu.default: _aten.relu_.default,
    _aten.relu6.default: _aten.relu6_.default,
    _aten.hardtanh.default: _aten.hardtanh_.default,
    _aten.silu.default: _aten.silu_.default,
    _aten.hardswish.default: _aten.hardswish_.default,
    _aten.gelu.default: _aten.gelu_.default,
}


@dataclass(frozen=True)
class Compared:
    """One op in both graphs, and where its statistics gather."""

    handle: int
    name: str
    """The node's name, after the path of the control-flow bodies that it is in."""
    reference: Node
    actual: Node
    callers: tuple[Node, ...]
    """The control-flow ops in whose bodies it is, innermost first."""
    recorder: Recorder
    quantizers: tuple[Quantizer, ...]
    input: Recorder | None
    """What the op's weight is multiplied with, if it has a quantized weight."""
    fan_in: int | None
    weight: Channels | None

    @property
    def measured(self) -> Measurements:
        return self.recorder.total

    @property
    def channels(self) -> tuple[Channels, ...]:
        """Those of the weight and of the output, as far as a scale is shared by them."""
        output = self.measured.magnitudes
        found = (self.weight, None if output is None else channels("output", output))
        return tuple(each for each in found if each is not None)


@dataclass
class Comparison:
    """A module that computes what the reference computes, and what it recorded on the way."""

    module: GraphModule
    compared: tuple[Compared, ...]
    output: Recorder
    unmatched: dict[int, str] = field(default_factory=dict)
    """Why an op of the reference was not compared, by handle."""
    batches: int = 0

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Compare on one batch."""
        with torch.no_grad():
            self.module(*args, **kwargs)
        for each in self.module.modules():
            if isinstance(each, Recorder):
                each.end_batch(self.batches)
        self.batches += 1


def merge(reference: GraphModule, actual: GraphModule, introduced: bool = True) -> Comparison:
    """The comparison graph of two graphs whose nodes have debug handles.

    It is called like ``reference``, shares the parameters of both, and leaves both as they are. Without
    ``introduced``, only the accumulated error is measured.
    """
    merger = _Merger(reference, actual, introduced)
    module = merger.merge()
    return Comparison(module, tuple(merger.compared), merger.output, merger.unmatched)


class _Merger:
    """Merges two graphs: two models, or two bodies of a control-flow op."""

    def __init__(
        self,
        reference: GraphModule,
        actual: GraphModule,
        introduced: bool,
        path: str = "",
        callers: tuple[Node, ...] = (),
    ) -> None:
        self._root = nn.Module()
        self._root.reference = reference
        self._root.actual = actual
        self._reference, self._actual = reference, actual
        self._introduced = introduced
        self._path, self._callers = path, callers
        self._graph = Graph()
        self._counterparts = dict(_counterparts(reference, actual))
        self._references = {r: a for a, r in self._counterparts.items()}
        self._pending = _Pending(actual)
        # A copy that one side mutates in place must not be seen by the other.
        self._mutates = any(nodes.is_mutable(node) for node in reference.graph.nodes)
        self._from_reference: dict[Node, Node] = {}
        self._from_actual: dict[Node, Node] = {}
        self._constants: dict[Node, Tensor] = {}
        self._recorders: dict[Node, Recorder] = {}
        self._channel_dims: dict[Node, int | None] = {}
        self.compared: list[Compared] = []
        self.output = Recorder()
        self.unmatched: dict[int, str] = {}

    def merge(self) -> GraphModule:
        """One graph for two models that are called with the same inputs."""
        self._shared_inputs()
        outputs = self._merge_ops()
        self._record("output", self.output, outputs[0], (outputs[1],))
        self._graph.output(outputs[0])
        self._graph.set_codegen(self._reference.graph._codegen)
        _activate_in_place(self._graph)
        return GraphModule(self._root, self._graph)

    def merge_body(self) -> GraphModule:
        """One graph for two bodies: the inputs of one, then of the other; a pair of outputs."""
        self._separate_inputs()
        self._graph.output(self._merge_ops())
        _activate_in_place(self._graph)
        return GraphModule(self._root, self._graph)

    def _shared_inputs(self) -> None:
        placeholders = nodes.placeholders(self._reference)
        for node in placeholders:
            self._from_reference[node] = self._copy(node, "reference", self._from_reference)
        for node, twin in zip(nodes.placeholders(self._actual), placeholders):
            shared = self._from_reference[twin]
            if self._mutates:
                shared = self._graph.call_function(_clone, (shared,))
            self._from_actual[node] = shared

    def _separate_inputs(self) -> None:
        for node in nodes.placeholders(self._reference):
            self._from_reference[node] = self._graph.placeholder(f"reference_{node.name}")
        for node in nodes.placeholders(self._actual):
            self._from_actual[node] = self._graph.placeholder(f"actual_{node.name}")

    def _merge_ops(self) -> tuple[Any, Any]:
        """Both graphs, op by op; the outputs of both."""
        for node in self._reference.graph.nodes:
            if node.op in ("placeholder", "output"):
                continue
            self._channel_dims[node] = nodes.channel_dim(node, self._channel_dims)
            actual = self._references.get(node)
            if actual is not None and node.target in IN_STEP and self._in_step(node, actual):
                self._compare(node, actual, None, None)
                continue
            dice = self._graph.call_function(_rng_states) if nodes.is_random(node) else None
            before, exact = self._before(node, actual) if actual is not None else (None, None)
            self._throw_again(dice)
            self._from_reference[node] = self._copy(node, "reference", self._from_reference)
            self._throw_again(dice)
            if actual is not None:
                self._compare(node, actual, before, exact)
            elif (handle := handle_of(node)) is not None:
                self.unmatched[handle] = (
                    "it is not in the quantized graph" if node.users else UNUSED
                )
        for node in self._actual.graph.nodes:
            if node.op != "output" and nodes.has_effect(node):
                self._actual_copy(node)
        reference, actual_output = nodes.output(self._reference), nodes.output(self._actual)
        return (
            map_arg(reference.args[0], self._from_reference.__getitem__),
            map_arg(actual_output.args[0], self._actual_copy),
        )

    # -- copying -----------------------------------------------------------------------------------

    def _copy(self, node: Node, side: str, copies: dict[Node, Node]) -> Node:
        copy = self._graph.node_copy(node, copies.__getitem__)
        if node.op in ("get_attr", "call_module"):
            copy.target = f"{side}.{node.target}"
        if side == "actual" and node.op == "get_attr" and any(map(nodes.is_mutable, node.users)):
            copy.target = self._constant(f"state_{node.name}", value_of(node).clone())
        return copy

    def _constant(self, name: str, value: Tensor) -> str:
        self._root.register_buffer(name, value)
        return name

    def _throw_again(self, dice: Node | None) -> None:
        if dice is not None:
            self._graph.call_function(_set_rng_states, (dice,))

    def _actual_copy(self, node: Node) -> Node:
        """The copy of a node of the quantized graph, made now with all it needs, if it is not there."""
        if node not in self._from_actual:
            for each in self._pending.before(node):
                self._actual_copy(each)
            self._from_actual[node] = self._new_copy(node)
        return self._from_actual[node]

    def _new_copy(self, node: Node) -> Node:
        if is_dequantize(node):
            if (value := nodes.constant_value(node)) is not None:
                # Dequantized once, not with every batch.
                self._constants[node] = value
                name = self._constant(f"constant_{node.name}", value)
                return self._graph.get_attr(name)
            quantize = node.args[0]
            assert isinstance(quantize, Node)
            quantizer = fake_quantizer(quantize) if is_quantize(quantize) else None
            if quantizer is not None:
                return self._fake_quantized(quantize, quantizer)
        for each in node.all_input_nodes:
            self._actual_copy(each)
        return self._copy(node, "actual", self._from_actual)

    def _fake_quantized(self, quantize: Node, quantizer: FakeQuantizer) -> Node:
        """One node for a quantize node and all its dequantize nodes."""
        source = quantize.args[0]
        assert isinstance(source, Node)
        name = f"fake_{quantize.name}"
        self._root.add_module(name, quantizer)
        # In place where nobody else reads the value: half of the memory, and less of the time.
        in_place = nodes.owns_memory(source) and len(source.users) == 1
        copy = self._graph.call_module(
            name, (self._actual_copy(source),), {"in_place": True} if in_place else {}
        )
        for each in quantize.users:
            if is_dequantize(each):
                self._from_actual[each] = copy
        return copy

    def _in_step(self, reference: Node, actual: Node) -> bool:
        """Run a control-flow op of both graphs in step, if it has the same bodies in both."""
        pairs = list(zip(nodes.bodies(reference), nodes.bodies(actual)))
        if not pairs or any(
            len(nodes.placeholders(value_of(r))) != len(nodes.placeholders(value_of(a)))
            for r, a in pairs
        ):
            return False
        bodies = []
        for r, a in pairs:
            merger = _Merger(
                value_of(r),
                value_of(a),
                self._introduced,
                f"{self._path}{r.target}.",
                (reference, *self._callers),
            )
            bodies.append(Body(merger.merge_body(), value_of(r), value_of(a)))
            self.compared += merger.compared
            self.unmatched |= merger.unmatched
        self._root.add_module(f"in_step_{reference.name}", IN_STEP[reference.target](bodies))
        reference_args = [each for each in reference.args if each not in nodes.bodies(reference)]
        actual_args = [each for each in actual.args if each not in nodes.bodies(actual)]
        pair = self._graph.call_module(
            f"in_step_{reference.name}",
            (
                map_arg(reference_args, self._from_reference.__getitem__),
                map_arg(actual_args, self._actual_copy),
            ),
        )
        self._from_reference[reference] = self._graph.call_function(operator.getitem, (pair, 0))
        self._from_actual[actual] = self._graph.call_function(operator.getitem, (pair, 1))
        return True

    # -- comparing ---------------------------------------------------------------------------------

    def _before(self, reference: Node, actual: Node) -> tuple[Node | None, Node | None]:
        """The op computed in the quantized way from reference inputs, and the exact result to compare it
        with; None where that is the reference's own.

        It comes before the reference op, which may change its inputs in place.
        """
        if not self._introduced or actual.op == "get_attr":
            return None, None
        if nodes.in_half(actual) and not nodes.in_half(reference):
            if nodes.moves_values(actual):
                return None, None
            cloned = nodes.is_mutable(actual)
            exact = self._graph.node_copy(reference, self._rounded_input(reference, actual))
            return self._graph.node_copy(actual, self._reference_input(cloned)), exact
        if not any(map(nodes.reads_constant, actual.all_input_nodes)) and not nodes.other_constants(
            reference, actual
        ):
            # The inputs are the reference's own, so the result is, too; only a quantizer may follow.
            return None, None
        return self._graph.node_copy(actual, self._reference_input(nodes.is_mutable(actual))), None

    def _reference_input(self, cloned: bool) -> Callable[[Node], Node]:
        """How an input of the quantized op is found among reference values.

        A mutable op gets copies of them: it is run beside the reference op.
        """

        def find(source: Node) -> Node:
            if nodes.reads_constant(source):
                return self._actual_copy(source)
            through = source
            while is_quantize_or_dequantize(through) or nodes.is_cast_between(through):
                through = through.args[0]  # type: ignore[assignment]
            if through not in self._counterparts:
                return self._actual_copy(source)
            found = self._from_reference[self._counterparts[through]]
            if nodes.in_half(source):
                return self._graph.call_function(_cast, (found, nodes.dtype(source)))
            return self._graph.call_function(_clone, (found,)) if cloned else found

        return find

    def _rounded_input(self, reference: Node, actual: Node) -> Callable[[Node], Node]:
        """How an input of the reference op is found, rounded as the quantized op's input is.

        What is lost by that rounding is charged to the op that the input comes from.
        """
        half = nodes.dtype(actual)

        def find(source: Node) -> Node:
            found = self._from_reference[source]
            if source.op == "get_attr" or not nodes.is_floating(source):
                return found
            return self._graph.call_function(_rounded, (found, half))

        return find

    def _compare(
        self, reference: Node, actual: Node, before: Node | None, exact: Node | None
    ) -> None:
        handle = handle_of(reference)
        assert handle is not None
        raw = self._actual_copy(actual)
        accumulated: list[Node] = []
        requantized: list[Node] = []
        fake: list[FakeQuantizer] = []
        described: list[Quantizer] = []
        for quantize in nodes.quantizers(actual):
            dequantize = next(each for each in quantize.users if is_dequantize(each))
            copy = self._actual_copy(dequantize)
            accumulated.append(copy)
            described.append(describe(quantize, "output"))
            if self._introduced and not nodes.only_moves(actual, quantize):
                quantizer = getattr(self._root, str(copy.target), None)
                if isinstance(quantizer, FakeQuantizer):
                    fake.append(quantizer)
                else:
                    plain = before if before is not None else self._from_reference[reference]
                    requantized.append(self._requantize(plain, quantize, dequantize))
        weights = [each for each in actual.all_input_nodes if nodes.reads_constant(each)]
        for source in weights:
            role = "weight" if nodes.origin(source).op == "get_attr" else "input"
            described.append(describe(source, role))  # type: ignore[arg-type]
        recorder = Recorder(fake, self._channel_dims[reference])
        self._recorders[reference] = recorder
        self._record(
            f"handle_{handle}",
            recorder,
            self._from_reference[reference],
            tuple(accumulated) or (raw,),
            before,
            tuple(requantized),
            exact,
        )
        weight = nodes.weight(reference, actual, self._constants)
        self.compared.append(
            Compared(
                handle,
                self._path + reference.name,
                reference,
                actual,
                self._callers,
                recorder,
                tuple(described),
                self._multiplied(reference) if weight is not None else None,
                weight[0].numel() if weight is not None else None,
                channels("weight", magnitudes(weight, 0)) if weight is not None else None,
            )
        )

    def _multiplied(self, reference: Node) -> Recorder | None:
        """What measures the input that the weight of an op meets."""
        source = reference.args[0]
        assert isinstance(source, Node)
        if source not in self._recorders and source.op == "placeholder":
            value = self._from_reference[source]
            self._recorders[source] = Recorder()
            self._record(f"input_{source.name}", self._recorders[source], value, (value,))
        return self._recorders.get(source)

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

    def _record(self, name: str, recorder: Recorder, *values: Any) -> None:
        self._root.add_module(name, recorder)
        self._graph.call_module(name, values)


class _Pending:
    """In which order nodes of a graph must be copied when they are asked for out of order.

    A node can be copied as soon as its inputs are, unless something between changes its inputs in place
    or throws dice: then what comes before that comes before the node.
    """

    def __init__(self, model: GraphModule) -> None:
        # A quantize node comes with its dequantize nodes.
        self._nodes = [
            each
            for each in model.graph.nodes
            if each.op != "output"
            and not (is_quantize(each) and each.users and all(map(is_dequantize, each.users)))
        ]
        self._place = {node: place for place, node in enumerate(self._nodes)}
        self._effects = [place for place, node in enumerate(self._nodes) if nodes.has_effect(node)]
        self._copied = 0

    def before(self, node: Node) -> list[Node]:
        """The nodes to copy before ``node``, its inputs not counted."""
        place = self._place.get(node, len(self._nodes))
        end = max((each + 1 for each in self._effects if each < place), default=0)
        if nodes.has_effect(node):
            end = place
        first, self._copied = self._copied, max(self._copied, end)
        return self._nodes[first:end]


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


def _rng_states() -> list[torch.Tensor]:
    """What both sides must start from, so that they throw the same dice."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def _set_rng_states(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    torch.cuda.set_rng_state_all(states[1:])


def _activate_in_place(graph: Graph) -> None:
    """Let activation functions overwrite inputs that nobody reads after them."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.target not in _IN_PLACE or not nodes.owns_memory(source := node.args[0]):
            continue
        if all(place[user] <= place[node] for user in source.users):
            node.target = _IN_PLACE[node.target]


def _clone(value: Any) -> Any:
    return torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, value)


def channels(role: str, largest: Tensor) -> Channels:
    """The largest magnitudes of the channels of a tensor, in short."""
    widest = int(largest.argmax())
    return Channels(
        role,  # type: ignore[arg-type]
        largest.numel(),
        widest,
        float(largest[widest]),
        float(largest.float().median()),
    )


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) else value


def _rounded(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.to(dtype).to(value.dtype)
