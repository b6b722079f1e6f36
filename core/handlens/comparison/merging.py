"""Merges reference and quantized graph into one comparison graph, with statistics nodes between them.

For every op, in this order: the op computed in the quantized way from reference inputs, the reference op,
the quantized op, its quantizers, and a ``Recorder`` of the results. torch.fx frees each tensor after its
last use, so a tensor dies when its last consumer and its comparison are done.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    bodies,
    is_quantize_or_dequantize,
    output,
    placeholders,
    value_of,
)
from handlens.comparison.compared import UNUSED, Compared, Comparison
from handlens.comparison.control_flow import IN_STEP, Body
from handlens.comparison.in_place import activate_in_place
from handlens.comparison.instruments import Instruments
from handlens.comparison.ops import live
from handlens.comparison.random_state import RandomStates
from handlens.comparison.recorder import Recorder
from handlens.comparison.sides import ActualSide, Destination, ReferenceSide, clone


def merge(
    reference: GraphModule, actual: GraphModule, introduced: bool = True, shortcuts: bool = True
) -> Comparison:
    """The comparison graph of two graphs whose nodes have debug handles.

    It is called like ``reference``, shares the parameters of both, and leaves both as they are: it has
    copies of the state that their ops change, made now. Without ``introduced``, only the accumulated error
    is measured. Without ``shortcuts``, every node of both graphs is computed as it stands.
    """
    random_states = RandomStates()
    merger = _Merger(reference, actual, _Options(introduced, shortcuts), random_states)
    module = merger.merge_models()
    compared = tuple(merger.compared)
    return Comparison(module, compared, merger.output, random_states, merger.unmatched)


@dataclass(frozen=True)
class _Options:
    introduced: bool
    shortcuts: bool


class _Merger:
    """Merges two graphs: those of two models, or of two bodies of a control-flow op."""

    def __init__(
        self,
        reference: GraphModule,
        actual: GraphModule,
        options: _Options,
        random_states: RandomStates,
        path: str = "",
        callers: tuple[Node, ...] = (),
    ) -> None:
        self._options = options
        self._path, self._callers = path, callers
        self._destination = Destination(random_states)
        self._graph = self._destination.graph
        self._reference = ReferenceSide(reference, self._destination)
        self._actual = ActualSide(actual, self._destination, options.shortcuts)
        counterparts = dict(_counterparts(reference, actual))
        self._twins = {r: a for a, r in counterparts.items()}
        """By node of the reference, the node of the quantized graph that computes the same op."""
        counterparts |= zip(placeholders(actual), placeholders(reference))
        counterparts |= _same_state(self._reference, self._actual)
        self._instruments = Instruments(
            self._destination,
            self._reference,
            self._actual,
            self._twins,
            counterparts,
            path,
            callers,
            options.introduced,
        )
        self.output = Recorder()
        self.unmatched: dict[int, str] = {}

    @property
    def compared(self) -> list[Compared]:
        return self._instruments.compared

    def merge_models(self) -> GraphModule:
        """One graph for two models that are called with the same inputs."""
        reference, actual = self._reference, self._actual
        for theirs, mine in zip(placeholders(reference.model), placeholders(actual.model)):
            shared = reference.copy(theirs)
            if reference.memory.is_written(theirs) or actual.memory.is_written(mine):
                shared = self._destination.call(clone, shared)
            actual.copies[mine] = shared
        outputs = self._merge_ops()
        self._instruments.record_outputs(output(reference.model), self.output, outputs)
        self._graph.output(outputs[0])
        self._graph.set_codegen(reference.model.graph._codegen)
        return self._merged()

    def merge_bodies(self) -> GraphModule:
        """One graph for two bodies: it takes the inputs of both, and returns a pair of outputs."""
        for side, name in ((self._reference, "reference"), (self._actual, "actual")):
            for node in placeholders(side.model):
                side.copies[node] = self._graph.placeholder(f"{name}_{node.name}")
        self._graph.output(self._merge_ops())
        return self._merged()

    def _merged(self) -> GraphModule:
        if self._options.shortcuts:
            activate_in_place(self._graph)
        return GraphModule(self._destination.root, self._graph)

    def _merge_ops(self) -> tuple[Any, Any]:
        """Add both graphs, op by op. Returns the outputs of both."""
        read = live(self._reference.model)
        for node in self._reference.model.graph.nodes:
            if node.op in ("placeholder", "output"):
                continue
            self._instruments.note_channels(node)
            actual = self._twins.get(node)
            if actual is None:
                self._reference.copy(node)
                if (handle := handle_of(node)) is not None:
                    self.unmatched[handle] = (
                        "it is not in the quantized graph" if node in read else UNUSED
                    )
            elif node.target in IN_STEP and self._run_in_step(node, actual):
                self._instruments.compare(node, actual)
            else:
                tried = self._instruments.before(node, actual)
                self._reference.copy(node)
                self._instruments.note_selection(node, actual)
                self._instruments.compare(node, actual, tried)
        self._actual.finish()
        reference_output = output(self._reference.model).args[0]
        actual_output = output(self._actual.model).args[0]
        return (
            map_arg(reference_output, self._reference.copies.__getitem__),
            map_arg(actual_output, self._actual.copy),
        )

    def _run_in_step(self, reference: Node, actual: Node) -> bool:
        """Add a control-flow op of both graphs as one. Returns False if its bodies do not correspond."""
        theirs, mine = bodies(reference), bodies(actual)
        pairs = [(value_of(r), value_of(a)) for r, a in zip(theirs, mine)]
        if not pairs or any(len(placeholders(r)) != len(placeholders(a)) for r, a in pairs):
            return False
        random_states = self._destination.random_states
        merged = []
        for node, (r, a) in zip(theirs, pairs):
            path, callers = f"{self._path}{node.target}.", (reference, *self._callers)
            merger = _Merger(r, a, self._options, random_states, path, callers)
            merged.append(Body(merger.merge_bodies(), r, a, random_states))
            self.compared.extend(merger.compared)
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


def _counterparts(reference: GraphModule, actual: GraphModule) -> Iterator[tuple[Node, Node]]:
    """Pairs of (actual, reference) nodes that compute the same op.

    Where a rewrite made several nodes of one op, the last node of each side has its result.
    """
    by_handle = _last_by_handle(reference)
    for handle, node in _last_by_handle(actual).items():
        if handle in by_handle:
            yield node, by_handle[handle]


def _last_by_handle(model: GraphModule) -> dict[int, Node]:
    return {
        handle: node
        for node in model.graph.nodes
        if (handle := handle_of(node)) is not None and not is_quantize_or_dequantize(node)
    }


def _same_state(reference: ReferenceSide, actual: ActualSide) -> Iterator[tuple[Node, Node]]:
    """Pairs of (actual, reference) nodes that name the same state, which both models change in place."""
    by_name = {
        node.target: node
        for node in reference.model.graph.nodes
        if node.op == "get_attr" and reference.memory.is_written(node)
    }
    for node in actual.model.graph.nodes:
        if node.op == "get_attr" and node.target in by_name and actual.memory.is_written(node):
            yield node, by_name[node.target]
