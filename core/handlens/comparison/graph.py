"""The comparison graph: reference and quantized graph in one, with statistics nodes between them.

For every op, in this order: the op computed in the quantized way from reference inputs, the reference op,
the quantized op, its quantizers, and a ``Recorder`` of the results. torch.fx frees each tensor after its
last use, so a tensor dies when its last consumer and its comparison are done.

Each source of noise is charged to one op: a quantized weight, constant or model input to the ops that
read it, a quantized activation to the op whose output it is, half precision to the op that computes in it.
An op that only moves values from a quantizer to an equal one adds nothing, and is not charged for it.
"""

from __future__ import annotations

import copy
import operator
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from handlens.capture.handles import (
    graph_modules,
    handle_of,
    is_dequantize,
    is_quantize_or_dequantize,
)
from handlens.comparison import nodes
from handlens.comparison.channels import Parts, channel_dim, magnitudes, summary
from handlens.comparison.control_flow import IN_STEP, Body
from handlens.comparison.dice import Dice
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.comparison.lost_writes import lost_writes
from handlens.comparison.masks import is_masked
from handlens.comparison.memory import aliased_by, bodies
from handlens.comparison.quantizers import cast, describe, value_of
from handlens.comparison.recorder import Measurements, Recorder
from handlens.comparison.sides import ActualSide, Destination, ReferenceSide, clone
from handlens.comparison.trials import Trials
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
class Missed:
    """A write in place that an op does not see in the quantized graph, as the reference's does."""

    writer: Node
    source: Node
    """What the reference's op reads."""
    recorder: Recorder
    """Compares that with what is read instead."""


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
    missed: tuple[Missed, ...] = ()
    model_inputs: tuple[tuple[Node, Quantizer, Recorder], ...] = ()
    """The inputs of the model that it reads quantized, how, and what that costs them."""
    parts: tuple[tuple[Node, ...], Parts] | None = None
    """Where several inputs come together: the nodes of the reference, and what they bring."""

    @property
    def measured(self) -> Measurements:
        return self.recorder.total

    @property
    def channels(self) -> tuple[Channels, ...]:
        """Those of the weight and of the output, as far as a scale is shared by them."""
        output = self.measured.magnitudes
        found = (self.weight, None if output is None else summary("output", output))
        return tuple(each for each in found if each is not None)


@dataclass
class Comparison:
    """A module that computes what the reference computes, and what it recorded on the way."""

    module: nn.Module
    compared: tuple[Compared, ...]
    output: Recorder
    dice: Dice
    unmatched: dict[int, str] = field(default_factory=dict)
    """Why an op of the reference was not compared, by handle."""
    batches: int = 0

    @property
    def not_finite(self) -> int:
        """How many NaN the reference has given so far, and how many infinities as its output."""
        nan = sum(each.measured.accumulated.nan for each in self.compared)
        return nan + self.output.total.accumulated.unknown

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        """Compare on one batch, whose tensors may be changed; what both models gave for it."""
        self.dice.begin()
        outputs: list[Outputs] = []

        def take(_: nn.Module, given: tuple[Any, ...]) -> None:
            outputs.append(Outputs(pytree.tree_leaves(given[0]), pytree.tree_leaves(given[1][0])))

        hook = self.output.register_forward_pre_hook(take)
        try:
            with torch.no_grad():
                self.module(*args, **kwargs)
        finally:
            hook.remove()
        self.dice("reference")
        for each in self.module.modules():
            if isinstance(each, Recorder):
                each.end_batch(self.batches)
        self.batches += 1
        return outputs[0]


@dataclass(frozen=True)
class Outputs:
    """The leaves of what both models gave for one batch."""

    reference: list[Any]
    actual: list[Any]


def merge(
    reference: GraphModule, actual: GraphModule, introduced: bool = True, shortcuts: bool = True
) -> Comparison:
    """The comparison graph of two graphs whose nodes have debug handles.

    It is called like ``reference``, shares the parameters of both, and leaves both as they are: it has
    copies of what their ops change, made now. Without ``introduced``, only the accumulated error is
    measured; without ``shortcuts``, every node of both graphs is computed as it stands.
    """
    dice = Dice()
    merger = _Merger(reference, actual, introduced, shortcuts, dice)
    module = merger.merge()
    return Comparison(module, tuple(merger.compared), merger.output, dice, merger.unmatched)


def outputs_alone(reference: GraphModule, actual: GraphModule) -> Comparison:
    """A comparison of what two graphs give in the end, each run by itself on state of its own."""
    output = Recorder()
    dice = Dice()
    reason = "the ops of this model cannot be compared as they run by themselves"
    unmatched = {
        handle: reason
        for each in graph_modules(reference)
        for node in each.graph.nodes
        if (handle := handle_of(node)) is not None
    }
    runs = _ByThemselves(copy.deepcopy(reference), copy.deepcopy(actual), output, dice)
    return Comparison(runs, (), output, dice, unmatched)


class _ByThemselves(nn.Module):
    def __init__(
        self, reference: GraphModule, actual: GraphModule, output: Recorder, dice: Dice
    ) -> None:
        super().__init__()
        self.reference, self.actual, self.output, self.dice = reference, actual, output, dice

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        args_too, kwargs_too = pytree.tree_map_only(Tensor, torch.clone, (args, kwargs))
        self.dice("reference")
        result = self.reference(*args, **kwargs)
        self.dice("actual")
        self.output(result, (self.actual(*args_too, **kwargs_too),))
        return result


class _Merger:
    """Merges two graphs: two models, or two bodies of a control-flow op."""

    def __init__(
        self,
        reference: GraphModule,
        actual: GraphModule,
        introduced: bool,
        shortcuts: bool,
        dice: Dice,
        path: str = "",
        callers: tuple[Node, ...] = (),
    ) -> None:
        self._introduced, self._shortcuts = introduced, shortcuts
        self._path, self._callers = path, callers
        self._destination = Destination(dice)
        self._graph = self._destination.graph
        self._reference = ReferenceSide(reference, self._destination)
        self._actual = ActualSide(actual, self._destination, shortcuts)
        self._counterparts = dict(_counterparts(reference, actual))
        self._twins = {r: a for a, r in self._counterparts.items()}
        """By node of the reference, the node of the quantized graph that computes the same op."""
        self._counterparts |= zip(nodes.placeholders(actual), nodes.placeholders(reference))
        self._counterparts |= _same_state(self._reference, self._actual)
        self._trials = Trials(
            *(self._destination, self._reference, self._actual, self._counterparts, bool(callers))
        )
        self._lost: dict[Node, list[tuple[Node, Node, Node]]] = defaultdict(list)
        for reader, *lost in lost_writes(self._reference.memory, self._actual.memory, self._twins):
            self._lost[reader].append(tuple(lost))  # type: ignore[arg-type]
        self._recorders: dict[Node, Recorder] = {}
        self._model_inputs: dict[Node, Recorder] = {}
        """By the quantized value of an input of the model."""
        self._channel_dims: dict[Node, int | None] = {}
        self._selections: dict[Any, Node | None] = {}
        """By symbol of a size, whether both models have selected the same values; None if none did."""
        self.compared: list[Compared] = []
        self.output = Recorder()
        self.unmatched: dict[int, str] = {}

    def merge(self) -> GraphModule:
        """One graph for two models that are called with the same inputs."""
        reference, actual = self._reference, self._actual
        for theirs, mine in zip(
            nodes.placeholders(reference.model), nodes.placeholders(actual.model)
        ):
            shared = reference.copy(theirs)
            if reference.memory.is_written(theirs) or actual.memory.is_written(mine):
                shared = self._destination.call(clone, shared)
            actual.copies[mine] = shared
        outputs = self._merge_ops()
        output = nodes.output(reference.model)
        self._record("output", self.output, outputs[0], (outputs[1],), same=self._same(output))
        self._graph.output(outputs[0])
        self._graph.set_codegen(reference.model.graph._codegen)
        return self._merged()

    def merge_body(self) -> GraphModule:
        """One graph for two bodies: the inputs of one, then of the other; a pair of outputs."""
        for side, name in ((self._reference, "reference"), (self._actual, "actual")):
            for node in nodes.placeholders(side.model):
                side.copies[node] = self._graph.placeholder(f"{name}_{node.name}")
        self._graph.output(self._merge_ops())
        return self._merged()

    def _merged(self) -> GraphModule:
        if self._shortcuts:
            _activate_in_place(self._graph)
        return GraphModule(self._destination.root, self._graph)

    def _merge_ops(self) -> tuple[Any, Any]:
        """Both graphs, op by op; the outputs of both."""
        live = nodes.live(self._reference.model)
        for node in self._reference.model.graph.nodes:
            if node.op in ("placeholder", "output"):
                continue
            self._channel_dims[node] = channel_dim(node, self._channel_dims)
            actual = self._twins.get(node)
            if actual is not None and node.target in IN_STEP and self._in_step(node, actual):
                self._compare(node, actual)
                continue
            before, exact, inputs_alone = None, None, None
            if actual is not None and self._introduced:
                before, exact = self._trials.before(node, actual)
                inputs_alone = self._trials.inputs_alone(node, actual)
            missed = [self._missed(*each) for each in self._lost.get(node, ())]
            self._reference.copy(node)
            if actual is not None:
                self._note_selection(node, actual)
                self._compare(node, actual, before, exact, inputs_alone, tuple(missed))
            elif (handle := handle_of(node)) is not None:
                self.unmatched[handle] = (
                    "it is not in the quantized graph" if node in live else UNUSED
                )
        self._actual.finish()
        reference = nodes.output(self._reference.model).args[0]
        actual_output = nodes.output(self._actual.model).args[0]
        return (
            map_arg(reference, self._reference.copies.__getitem__),
            map_arg(actual_output, self._actual.copy),
        )

    def _in_step(self, reference: Node, actual: Node) -> bool:
        """Run a control-flow op of both graphs in step, if it has the same bodies in both."""
        theirs, mine = bodies(reference), bodies(actual)
        pairs = [(value_of(r), value_of(a)) for r, a in zip(theirs, mine)]
        if not pairs or any(
            len(nodes.placeholders(r)) != len(nodes.placeholders(a)) for r, a in pairs
        ):
            return False
        merged = []
        for node, (r, a) in zip(theirs, pairs):
            merger = _Merger(
                *(r, a, self._introduced, self._shortcuts, self._destination.dice),
                f"{self._path}{node.target}.",
                (reference, *self._callers),
            )
            merged.append(Body(merger.merge_body(), r, a, self._destination.dice))
            self.compared += merger.compared
            self.unmatched |= merger.unmatched
        name = self._destination.add_module(
            f"in_step_{reference.name}", IN_STEP[reference.target](merged)
        )
        reference_args = [each for each in reference.args if each not in theirs]
        actual_args = [each for each in actual.args if each not in mine]
        pair = self._graph.call_module(
            name,
            (
                map_arg(reference_args, self._reference.copies.__getitem__),
                map_arg(actual_args, self._actual.copy),
            ),
        )
        self._reference.copies[reference] = self._destination.call(operator.getitem, pair, 0)
        self._actual.copies[actual] = self._destination.call(operator.getitem, pair, 1)
        return True

    # -- comparing ---------------------------------------------------------------------------------

    def _note_selection(self, reference: Node, actual: Node) -> None:
        """Where the number of values that an op gives depends on data: whether both gave the same ones."""
        new = nodes.selections(reference) - self._selections.keys()
        pairs = [*zip(reference.all_input_nodes, actual.all_input_nodes)]
        chosen = [(r, a) for r, a in pairs if nodes.is_whole(r)]
        if new and not chosen and nodes.is_whole(reference):
            chosen = [(reference, actual)]
        same = None
        if new and chosen:
            references = [self._reference.copies[r] for r, _ in chosen]
            same = self._destination.call(
                _are_equal, references, [self._actual.copy(a) for _, a in chosen]
            )
        self._selections |= dict.fromkeys(new, same)

    def _same(self, reference: Node) -> list[Node]:
        """What tells whether the values of an op's output are the same ones in both models."""
        found = (self._selections.get(each) for each in nodes.selections(reference))
        return list(dict.fromkeys(each for each in found if each is not None))

    def _missed(self, writer: Node, source: Node, instead: Node) -> Missed:
        recorder = Recorder()
        values = self._reference.copies[source], (self._actual.copy(instead),)
        self._record(f"missed_{len(self._graph.nodes)}", recorder, *values)
        return Missed(writer, source, recorder)

    def _compare(
        self,
        reference: Node,
        actual: Node,
        before: Node | None = None,
        exact: Node | None = None,
        inputs_alone: Node | None = None,
        missed: tuple[Missed, ...] = (),
    ) -> None:
        handle = handle_of(reference)
        assert handle is not None
        raw = self._actual.value(actual)
        accumulated: list[Node] = []
        requantized: list[Node] = []
        fake: list[FakeQuantizer] = []
        described: list[Quantizer] = []
        for quantize in nodes.quantizers(actual):
            dequantize = min(each for each in quantize.users if is_dequantize(each))
            value = self._actual.value(dequantize)
            accumulated.append(value)
            described.append(describe(quantize, "output"))
            if self._introduced and not nodes.only_moves(actual, quantize):
                quantizer = getattr(self._destination.root, str(value.target), None)
                if isinstance(quantizer, FakeQuantizer):
                    fake.append(quantizer)
                else:
                    plain = before if before is not None else self._reference.copies[reference]
                    requantized.append(self._trials.requantize(plain, quantize, dequantize))
        model_inputs: list[tuple[Node, Quantizer, Recorder]] = []
        for source in actual.all_input_nodes:
            if self._trials.is_charged(source):
                is_weight = nodes.origin(source).op == "get_attr"
                described.append(describe(source, "weight" if is_weight else "input"))
            if self._introduced and self._trials.is_model_input(source):
                model_inputs.append(self._model_input(source))
        recorder = Recorder(fake, self._channel_dims[reference], is_masked(reference))
        self._recorders[reference] = recorder
        self._record(
            f"handle_{handle}",
            recorder,
            self._reference.copies[reference],
            tuple(accumulated) or (raw,),
            before,
            tuple(requantized),
            exact,
            inputs_alone,
            same=self._same(reference),
        )
        weight = nodes.weight(reference, actual, self._actual.constants)
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
                summary("weight", magnitudes(weight, 0)) if weight is not None else None,
                missed,
                tuple(model_inputs),
                self._parts(reference, actual),
            )
        )

    def _parts(self, reference: Node, actual: Node) -> tuple[tuple[Node, ...], Parts] | None:
        """What measures the inputs of an op at which several come together, channel by channel."""
        dim, name = self._channel_dims[reference], nodes.op_name(reference)
        sources, counterparts = reference.all_input_nodes, actual.all_input_nodes
        if dim is None or len(sources) < 2 or len(sources) != len(counterparts):
            return None
        if not all(map(nodes.is_floating, sources)):
            return None
        side_by_side = False
        if name == "cat":
            along = reference.args[1] if len(reference.args) > 1 else 0
            side_by_side = along in (dim, dim - reference.meta["val"].dim())
        elif name not in nodes.SUMS or not all(
            nodes.has_shape_of(each, reference) for each in sources
        ):
            return None
        parts = Parts(dim, side_by_side)
        module = self._destination.add_module(f"parts_{handle_of(reference)}", parts)
        copies = self._reference.copies
        values = [copies[each] for each in sources], [*map(self._actual.copy, counterparts)]
        self._graph.call_module(module, (copies[reference], *values))
        return tuple(sources), parts

    def _model_input(self, source: Node) -> tuple[Node, Quantizer, Recorder]:
        """What measures an input of the model, as ``source`` has it, in the quantized graph."""
        origin = nodes.uncast(source)
        if source not in self._model_inputs:
            quantize = source.args[0]
            made = self._actual.copy(source)
            fake = getattr(self._destination.root, str(made.target), None)
            is_fake = isinstance(fake, FakeQuantizer) and origin in quantize.all_input_nodes  # type: ignore[union-attr]
            recorder = Recorder([fake] if is_fake else ())  # type: ignore[list-item]
            self._model_inputs[source] = recorder
            value = self._reference.copies[self._counterparts[origin]]
            self._record(f"model_input_{source.name}", recorder, value, (made,))
        if is_dequantize(source):
            quantizer = describe(source, "input")
        else:
            quantizer = cast("input", source.meta["val"].dtype)
        return self._counterparts[origin], quantizer, self._model_inputs[source]

    def _multiplied(self, reference: Node) -> Recorder | None:
        """What measures the input that the weight of an op meets."""
        source = reference.args[0]
        assert isinstance(source, Node)
        if source not in self._recorders and source.op == "placeholder":
            value = self._reference.copies[source]
            self._recorders[source] = Recorder()
            self._record(f"input_{source.name}", self._recorders[source], value, (value,))
        return self._recorders.get(source)

    def _record(self, name: str, recorder: Recorder, *values: Any, same: Any = ()) -> None:
        self._destination.add_module(name, recorder)
        self._graph.call_module(name, values, {"same": same} if same else {})


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


def _same_state(reference: ReferenceSide, actual: ActualSide) -> Iterator[tuple[Node, Node]]:
    """Pairs of (actual, reference) nodes that name what both models change in place."""
    by_name = {
        node.target: node
        for node in reference.model.graph.nodes
        if node.op == "get_attr" and reference.memory.is_written(node)
    }
    for node in actual.model.graph.nodes:
        if node.op == "get_attr" and node.target in by_name and actual.memory.is_written(node):
            yield node, by_name[node.target]


def _activate_in_place(graph: Graph) -> None:
    """Let activation functions overwrite inputs that nobody reads after them, by whatever name."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.target not in _IN_PLACE or not nodes.owns_memory(node.args[0]):
            continue
        if all(place[each] <= place[node] for each in _readers(node.args[0], node)):
            node.target = _IN_PLACE[node.target]


def _readers(source: Node, apart_from: Node) -> Iterator[Node]:
    """What reads the memory of a node, under its own name or under another."""
    names = [source]
    while names:
        name = names.pop()
        for user in name.users:
            yield user
            if user is not apart_from and name in aliased_by(user):
                names.append(user)


def _are_equal(reference: list[Any], actual: list[Any]) -> bool:
    return all(
        torch.equal(r, a) if isinstance(r, Tensor) and isinstance(a, Tensor) else bool(r == a)
        for r, a in zip(pytree.tree_leaves(reference), pytree.tree_leaves(actual))
    )
