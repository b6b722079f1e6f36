"""The introduced error: ops of the quantized graph, computed from reference inputs."""

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
    """Adds ops to the comparison graph that are computed in the quantized way from reference inputs.

    ``counterparts`` maps nodes of the quantized graph to the nodes of the reference with the same value.
    ``in_body`` is True in the body of a control-flow op.
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
        """Add an op computed in the quantized way from reference inputs. Call this before the reference op
        is copied, because that may change its inputs in place.

        Returns the op, None if its result would be the reference's; and what to compare the result with,
        None if that is the reference.
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
            # With reference inputs and nothing quantized, the result is the reference's.
            return None, None
        return self._tried(actual, self._reference_input(cloned)), None

    def inputs_alone(self, reference: Node, actual: Node) -> Node | None:
        """Add an op with exact weights, computed in float from quantized inputs of the model.

        Returns None unless the op reads a quantized input of the model and a quantized weight as well.
        """
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
        """True if an input of an op is an input of the model, quantized or cast for that op."""
        if self._in_body:
            return False
        if is_cast_input(source):
            return True
        return is_dequantize(source) and unquantized(source).op == "placeholder"

    def is_charged(self, source: Node) -> bool:
        """True if the noise of an op's input is charged to the op: that of a constant, or of a model input.

        The input of a body is the output of another op, which its noise is charged to.
        """
        is_input = unquantized(source).op == "placeholder"
        return reads_constant(source) and not (is_input and self._in_body)

    def _tried(self, node: Node, find: Callable[[Node], Node]) -> Node:
        inputs = {each: find(each) for each in node.all_input_nodes}
        if is_random(node):
            self._destination.draw_for("trial")
        return self._destination.graph.node_copy(node, inputs.__getitem__)

    def _reference_input(self, cloned: bool) -> Callable[[Node], Node]:
        """A function from an input of the quantized op to the reference value in its place.

        With ``cloned`` it gives copies, for an op that changes its inputs in place.
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
        """The quantized value of a model input, as the op reads it."""
        if not self._actual.memory.is_written(unquantized(dequantize)):
            return self._actual.copy(dequantize)
        quantize = dequantize.args[0]
        assert isinstance(quantize, Node)
        if is_dequantize(origin := quantize.args[0]):  # type: ignore[arg-type]
            value = self._requantized(origin, value)  # type: ignore[arg-type]
        return self.requantize(value, quantize, dequantize)

    def _rounded_input(self, reference: Node, actual: Node) -> Callable[[Node], Node]:
        """A function from an input of the reference op to its value, rounded like the quantized op's input.

        The noise of that rounding is charged to the op that computes the input. Weights and inputs of the
        model, which no op computes, are not rounded.
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
        """Add a copy of a quantizer and apply it to ``value``."""
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
