"""The measuring nodes of a comparison graph: which are added for an op, and which values they are given.

Each source of noise is charged to one op: a quantized weight, constant or model input to the ops that
read it, a quantized activation to the op whose output it is, half precision to the op that computes in it.
An op that only moves values from a quantizer to an equal one adds nothing, and is not charged for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.experimental import symbolic_shapes
from torch.utils import _pytree as pytree

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    example,
    example_tensors,
    is_dequantize,
    is_floating,
    is_whole,
    op_name,
)
from handlens.comparison.channels import Parts, channel_dim, has_shape_of, magnitudes, summary
from handlens.comparison.compared import Compared, InputOfModel, LostWrite
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.comparison.lost_writes import lost_writes
from handlens.comparison.masks import is_masked
from handlens.comparison.ops import sums_noise
from handlens.comparison.quantized_values import (
    only_moves,
    original,
    output_quantizers,
    unquantized,
    weight,
)
from handlens.comparison.quantizers import cast, describe
from handlens.comparison.recorder import Recorder
from handlens.comparison.sides import ActualSide, Destination, ReferenceSide
from handlens.comparison.trials import Trials
from handlens.report import Quantizer


@dataclass(frozen=True)
class Tried:
    """The nodes that were added for an op before the reference op, which may change its inputs in place."""

    own: Node | None = None
    """The op computed in the quantized way from reference inputs; None if the result is the reference's."""
    exact: Node | None = None
    """The result without noise that ``own`` is compared with; None if it is the reference's."""
    inputs_alone: Node | None = None
    """The op with nothing quantized but the model's inputs."""
    lost_writes: tuple[LostWrite, ...] = ()


_NOTHING = Tried()


class Instruments:
    """Adds the nodes that measure to a comparison graph, op by op in the order of the reference.

    ``twins`` has by op of the reference the same op of the quantized graph; ``counterparts`` has by node of
    the quantized graph the node of the reference with the same value, inputs and state included.
    """

    def __init__(
        self,
        destination: Destination,
        reference: ReferenceSide,
        actual: ActualSide,
        twins: Mapping[Node, Node],
        counterparts: Mapping[Node, Node],
        path: str,
        callers: tuple[Node, ...],
        introduced: bool,
    ) -> None:
        self._destination = destination
        self._reference, self._actual = reference, actual
        self._counterparts = counterparts
        self._path, self._callers, self._introduced = path, callers, introduced
        self._trials = Trials(destination, reference, actual, counterparts, bool(callers))
        self._lost: dict[Node, list[tuple[Node, Node, Node]]] = defaultdict(list)
        for reader, writer, source, instead in lost_writes(reference.memory, actual.memory, twins):
            self._lost[reader].append((writer, source, instead))
        self._recorders: dict[Node, Recorder] = {}
        self._model_inputs: dict[Node, Recorder] = {}
        """By the quantized value of an input of the model."""
        self._channel_dims: dict[Node, int | None] = {}
        self._selections: dict[Any, Node | None] = {}
        """By symbol of a size, the node that tells if both models selected the same values, if one does."""
        self.compared: list[Compared] = []

    def note_channels(self, node: Node) -> None:
        """Note where the channels of a reference op's output are. Call it for every node, in order."""
        self._channel_dims[node] = channel_dim(node, self._channel_dims)

    def note_selection(self, reference: Node, actual: Node) -> None:
        """If data decides how many values an op gives, compare which ones both models have selected."""
        new = _selections(reference) - self._selections.keys()
        pairs = [*zip(reference.all_input_nodes, actual.all_input_nodes)]
        chosen = [(r, a) for r, a in pairs if is_whole(r)]
        if new and not chosen and is_whole(reference):
            chosen = [(reference, actual)]
        same = None
        if new and chosen:
            references = [self._reference.copies[r] for r, _ in chosen]
            actuals = [self._actual.copy(a) for _, a in chosen]
            same = self._destination.call(_are_equal, references, actuals)
        self._selections |= dict.fromkeys(new, same)

    def before(self, reference: Node, actual: Node) -> Tried:
        """Add the nodes that must come before the copy of the reference op."""
        own, exact, inputs_alone = None, None, None
        if self._introduced:
            own, exact = self._trials.introduced(reference, actual)
            inputs_alone = self._trials.inputs_alone(reference, actual)
        lost = [self._lost_write(*each) for each in self._lost.get(reference, ())]
        return Tried(own, exact, inputs_alone, tuple(lost))

    def compare(self, reference: Node, actual: Node, tried: Tried = _NOTHING) -> None:
        """Add the quantized op, its quantizers, and the recorders of its results."""
        handle = handle_of(reference)
        assert handle is not None
        raw = self._actual.value(actual)
        accumulated: list[Node] = []
        requantized: list[Node] = []
        fake: list[FakeQuantizer] = []
        described: list[Quantizer] = []
        for quantize in output_quantizers(actual):
            dequantize = min(each for each in quantize.users if is_dequantize(each))
            value = self._actual.value(dequantize)
            accumulated.append(value)
            described.append(describe(quantize, "output"))
            if self._introduced and not only_moves(actual, quantize):
                quantizer = getattr(self._destination.root, str(value.target), None)
                if isinstance(quantizer, FakeQuantizer):
                    fake.append(quantizer)
                else:
                    plain = (
                        tried.own if tried.own is not None else self._reference.copies[reference]
                    )
                    requantized.append(self._trials.requantize(plain, quantize, dequantize))
        model_inputs: list[InputOfModel] = []
        for source in actual.all_input_nodes:
            if self._trials.is_charged(source):
                is_weight = unquantized(source).op == "get_attr"
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
            tried.own,
            tuple(requantized),
            tried.exact,
            tried.inputs_alone,
            same=self._same(reference),
        )
        own_weight = weight(reference, actual, self._actual.constants)
        self.compared.append(
            Compared(
                handle,
                self._path + reference.name,
                reference,
                actual,
                self._callers,
                recorder,
                tuple(described),
                self._multiplied(reference) if own_weight is not None else None,
                own_weight[0].numel() if own_weight is not None else None,
                summary("weight", magnitudes(own_weight, 0)) if own_weight is not None else None,
                tried.lost_writes,
                tuple(model_inputs),
                self._parts(reference, actual),
            )
        )

    def record_outputs(self, node: Node, recorder: Recorder, outputs: tuple[Any, Any]) -> None:
        """Add the recorder of the outputs of both models. ``node`` returns those of the reference."""
        reference, actual = outputs
        self._record("output", recorder, reference, (actual,), same=self._same(node))

    # -- parts -------------------------------------------------------------------------------------

    def _same(self, reference: Node) -> list[Node]:
        """The nodes that tell whether the values of an op's output are the same ones in both models."""
        found = (self._selections.get(each) for each in _selections(reference))
        return list(dict.fromkeys(each for each in found if each is not None))

    def _lost_write(self, writer: Node, source: Node, instead: Node) -> LostWrite:
        recorder = Recorder()
        values = self._reference.copies[source], (self._actual.copy(instead),)
        self._record(f"missed_{len(self._destination.graph.nodes)}", recorder, *values)
        return LostWrite(writer, source, recorder)

    def _parts(self, reference: Node, actual: Node) -> tuple[tuple[Node, ...], Parts] | None:
        """Measure the inputs of an op at which several come together, channel by channel."""
        dim = self._channel_dims[reference]
        sources, counterparts = reference.all_input_nodes, actual.all_input_nodes
        if dim is None or len(sources) < 2 or len(sources) != len(counterparts):
            return None
        if not all(map(is_floating, sources)):
            return None
        side_by_side = False
        if op_name(reference) == "cat":
            along = reference.args[1] if len(reference.args) > 1 else 0
            side_by_side = along in (dim, dim - example(reference).dim())
        elif not sums_noise(reference) or not all(has_shape_of(s, reference) for s in sources):
            return None
        parts = Parts(dim, side_by_side)
        module = self._destination.add_module(f"parts_{handle_of(reference)}", parts)
        copies = self._reference.copies
        values = [copies[each] for each in sources], [*map(self._actual.copy, counterparts)]
        self._destination.graph.call_module(module, (copies[reference], *values))
        return tuple(sources), parts

    def _model_input(self, source: Node) -> InputOfModel:
        """Measure an input of the model, whose value in the quantized graph is ``source``."""
        node = self._counterparts[original(source)]
        if source not in self._model_inputs:
            quantize = source.args[0]
            made = self._actual.copy(source)
            fake = getattr(self._destination.root, str(made.target), None)
            is_fake = (
                isinstance(fake, FakeQuantizer) and original(source) in quantize.all_input_nodes  # type: ignore[union-attr]
            )
            recorder = Recorder([fake] if is_fake else ())  # type: ignore[list-item]
            self._model_inputs[source] = recorder
            self._record(
                f"model_input_{source.name}", recorder, self._reference.copies[node], (made,)
            )
        if is_dequantize(source):
            quantizer = describe(source, "input")
        else:
            quantizer = cast("input", example(source).dtype)
        return InputOfModel(node, quantizer, self._model_inputs[source])

    def _multiplied(self, reference: Node) -> Recorder | None:
        """The recorder of the input that the weight of an op is multiplied with."""
        source = reference.args[0]
        assert isinstance(source, Node)
        if source not in self._recorders and source.op == "placeholder":
            value = self._reference.copies[source]
            self._recorders[source] = Recorder()
            self._record(f"input_{source.name}", self._recorders[source], value, (value,))
        return self._recorders.get(source)

    def _record(self, name: str, recorder: Recorder, *values: Any, same: Any = ()) -> None:
        self._destination.add_module(name, recorder)
        self._destination.graph.call_module(name, values, {"same": same} if same else {})


def _selections(node: Node) -> set[Any]:
    """The symbols of the sizes of an op's outputs that depend on data: how many values were selected."""
    return {
        symbol
        for each in example_tensors(node)
        for symbol in symbolic_shapes.free_unbacked_symbols(each)
    }


def _are_equal(reference: list[Any], actual: list[Any]) -> bool:
    return all(
        torch.equal(r, a) if isinstance(r, Tensor) and isinstance(a, Tensor) else bool(r == a)
        for r, a in zip(pytree.tree_leaves(reference), pytree.tree_leaves(actual))
    )
