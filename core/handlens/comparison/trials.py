"""An op tried on reference inputs: what it adds to the noise by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from handlens.capture.nodes import dtype, in_half, is_dequantize, is_floating
from handlens.comparison.memory import written_by
from handlens.comparison.ops import is_random, moves_values
from handlens.comparison.quantized_values import (
    has_other_constants,
    is_cast_input,
    original,
    reads_constant,
    unquantized,
)
from handlens.comparison.sides import ActualSide, Destination, ReferenceSide, clone


class Trials:
    """Computes ops of the quantized graph in the quantized way from what the reference's read.

    ``counterparts`` are the nodes of the reference that those of the quantized graph stand for.
    """

    def __init__(
        self,
        destination: Destination,
        reference: ReferenceSide,
        actual: ActualSide,
        counterparts: Mapping[Node, Node],
        in_body: bool,
    ) -> None:
        self._destination = destination
        self._reference, self._actual = reference, actual
        self._counterparts = counterparts
        self._in_body = in_body

    def introduced(self, reference: Node, actual: Node) -> tuple[Node | None, Node | None]:
        """The op computed in the quantized way from reference inputs, and the exact result to compare it
        with; None where that is the reference's own.

        It comes before the reference op, which may change its inputs in place.
        """
        cloned = bool(written_by(actual))
        reads_input = any(map(self.is_model_input, actual.all_input_nodes))
        if in_half(actual) and not in_half(reference):
            if moves_values(actual) and not reads_input:
                return None, None
            exact = self._tried(reference, self._rounded_input(reference, actual))
            return self._tried(actual, self._reference_input(cloned)), exact
        charged = reads_input or any(map(self.is_charged, actual.all_input_nodes))
        if not charged and not has_other_constants(reference, actual):
            # The inputs are the reference's own, so the result is, too; only a quantizer may follow.
            return None, None
        return self._tried(actual, self._reference_input(cloned)), None

    def inputs_alone(self, reference: Node, actual: Node) -> Node | None:
        """The op computed in float from the model's inputs as they are quantized, its weights exact; None
        where no weight is quantized as well, or no input."""
        if written_by(reference):
            return None
        charged = [each for each in actual.all_input_nodes if self.is_charged(each)]
        read = {
            counterpart: each
            for each in actual.all_input_nodes
            if self.is_model_input(each)
            and (counterpart := self._counterparts.get(original(each))) is not None
        }
        is_cast = in_half(actual) and not in_half(reference)
        weights = [each for each in charged if each not in read.values()]
        if not read or not (weights or is_cast):
            return None

        def find(source: Node) -> Node:
            found = self._reference.copies[source]
            if source not in read:
                return found
            if self.is_charged(read[source]):
                return self._requantized(read[source], found)
            return self._destination.call(_rounded, found, dtype(read[source]))

        return self._tried(reference, find)

    def is_model_input(self, source: Node) -> bool:
        """Whether an input of an op is one of the model, quantized or cast on the op's account."""
        if self._in_body:
            return False
        if is_cast_input(source):
            return True
        return is_dequantize(source) and unquantized(source).op == "placeholder"

    def is_charged(self, source: Node) -> bool:
        """Whether an input of an op is quantized on its account: a constant, or an input of the model.

        The input of a body is another op's output.
        """
        is_input = unquantized(source).op == "placeholder"
        return reads_constant(source) and not (is_input and self._in_body)

    def _tried(self, node: Node, find: Callable[[Node], Node]) -> Node:
        inputs = {each: find(each) for each in node.all_input_nodes}
        if is_random(node):
            self._destination.draw_for("trial")
        return self._destination.graph.node_copy(node, inputs.__getitem__)

    def _reference_input(self, cloned: bool) -> Callable[[Node], Node]:
        """How an input of the quantized op is found among reference values.

        An op that changes one of them in place gets copies: it is run beside the reference op.
        """

        def find(source: Node) -> Node:
            found = self._found(source)
            return self._destination.call(clone, found) if cloned else found

        return find

    def _found(self, source: Node) -> Node:
        counterpart = self._counterparts.get(original(source))
        if counterpart is None:
            return self._actual.copy(source)
        found = self._reference.copies[counterpart]
        if self.is_charged(source):
            return self._requantized(source, found)
        if in_half(source):
            return self._destination.call(_cast, found, dtype(source))
        return found

    def _requantized(self, dequantize: Node, value: Node) -> Node:
        """An input of the model as it is quantized for the op that reads it."""
        if not self._actual.memory.is_written(unquantized(dequantize)):
            return self._actual.copy(dequantize)
        quantize = dequantize.args[0]
        assert isinstance(quantize, Node)
        if is_dequantize(origin := quantize.args[0]):  # type: ignore[arg-type]
            value = self._requantized(origin, value)  # type: ignore[arg-type]
        return self.requantize(value, quantize, dequantize)

    def _rounded_input(self, reference: Node, actual: Node) -> Callable[[Node], Node]:
        """How an input of the reference op is found, rounded as the quantized op's input is.

        What is lost by that rounding is charged to the op that the input comes from; an input of the model
        comes from none.
        """
        half = dtype(actual)
        cloned = bool(written_by(reference))
        in_full = {
            self._counterparts.get(original(each))
            for each in actual.all_input_nodes
            if not in_half(each)
        }

        def find(source: Node) -> Node:
            found = self._reference.copies[source]
            is_weight = source.op == "get_attr" and not self._reference.memory.is_written(source)
            is_input = source.op == "placeholder" and not self._in_body
            if not (is_weight or is_input) and source not in in_full and is_floating(source):
                found = self._destination.call(_rounded, found, half)
            return self._destination.call(clone, found) if cloned else found

        return find

    def requantize(self, value: Node, quantize: Node, dequantize: Node) -> Node:
        """``value`` through a copy of a quantizer."""
        for each in (*quantize.all_input_nodes[1:], *dequantize.all_input_nodes[1:]):
            self._actual.copy(each)
        copies = self._actual.copies
        quantized = self._destination.graph.node_copy(
            quantize, lambda each: value if each is quantize.args[0] else copies[each]
        )
        return self._destination.graph.node_copy(
            dequantize, lambda each: quantized if each is quantize else copies[each]
        )


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return pytree.tree_map_only(Tensor, lambda each: each.to(dtype), value)


def _rounded(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.to(dtype).to(value.dtype)
