"""Ranks the ops of a quantized model by what they do to its output, with one backward pass.

The reference is run with every result replaced by that of the quantized model, so its derivatives are those
at the quantized point. Where d is the error that an op makes itself, and g the derivative of half the
squared error of the output, the part of the op is the sum of g·d over the elements of its result: what the
squared error loses with d, to first order and up to a factor. It is negative where the errors of two ops
make up for each other.

The sum of (g·d)² is the part that the op would have if its error had nothing to do with that of the others.
Both say which units are worth measuring. They are never shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    bodies,
    is_dequantize,
    is_quantize_or_dequantize,
    output,
    placeholders,
    value_of,
)
from handlens.comparison.memory import written_by
from handlens.recipes.regions import CALLED_ONCE


@dataclass(frozen=True)
class Part:
    """What the error of an op does to the error of the output, to first order."""

    along: float = 0.0
    """The part of the output's error that goes away with the op's: Σ g·d. Negative where errors cancel."""
    spread: float = 0.0
    """Σ (g·d)², which grows with the noise that the op makes at the output, whatever its direction."""

    def __add__(self, other: Part) -> Part:
        return Part(self.along + other.along, self.spread + other.spread)


@dataclass
class Parts:
    """The parts of ops, and of quantizers between two ops, in the error of the output."""

    ops: dict[int, Part] = field(default_factory=lambda: defaultdict(Part))
    """By handle, of what an op computes from its quantized inputs."""
    edges: dict[tuple[str, str], Part] = field(default_factory=lambda: defaultdict(Part))
    """By the names of both nodes, of what the quantizers between them change."""

    def of(self, handles: Set[int], edges: Set[tuple[str, str]]) -> Part:
        """The part of some ops and of some quantizers."""
        ours = [self.ops[each] for each in handles if each in self.ops]
        ours += [self.edges[each] for each in edges if each in self.edges]
        return sum(ours, Part())


def parts(
    reference: GraphModule,
    actual: GraphModule,
    value: Callable[[Node], Any],
    leaves: list[Any],
    errors: list[Tensor | None],
) -> Parts:
    """The parts of all ops of the top-level graph.

    Args:
        value: Gives the value of a node of ``actual``: of an op, or of a dequantize op.
        leaves: The inputs of the model.
        errors: By leaf of the outputs, quantized minus reference; None for those without.
    """
    return _Overlay(reference, actual, value, leaves).run(errors)


class _Replace(torch.autograd.Function):
    """Gives ``actual`` in place of ``computed``, and lets the derivative pass."""

    @staticmethod
    def forward(ctx: Any, computed: Tensor, actual: Tensor, note: Callable[[Part], None]) -> Tensor:
        # Eight bits of the error are enough to rank by, and the errors of all ops are held at once.
        ctx.save_for_backward((actual - computed).to(torch.bfloat16))
        ctx.note = note
        return actual.view_as(actual)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (error,) = ctx.saved_tensors
        product = gradient * error
        ctx.note(Part(float(product.sum()), float(product.square().sum())))
        return gradient, None, None


class _Overlay:
    """The reference, run with the results of the quantized model."""

    def __init__(
        self,
        reference: GraphModule,
        actual: GraphModule,
        value: Callable[[Node], Any],
        leaves: list[Any],
    ) -> None:
        self._reference, self._leaves = reference, leaves
        self._actual = value
        self._found = Parts()
        self._values: dict[Node, Any] = {}
        self._twins = {
            handle: node
            for node in actual.graph.nodes
            if (handle := handle_of(node)) is not None and not is_quantize_or_dequantize(node)
        }

    def run(self, errors: list[Tensor | None]) -> Parts:
        with torch.enable_grad():
            for node, leaf in zip(placeholders(self._reference), self._leaves):
                differentiable = isinstance(leaf, Tensor) and leaf.is_floating_point()
                self._values[node] = leaf.detach().requires_grad_() if differentiable else leaf
            for node in self._reference.graph.nodes:
                if node.op == "get_attr":
                    value = value_of(node)
                    self._values[node] = value.detach() if isinstance(value, Tensor) else value
                elif node.op == "call_function":
                    self._values[node] = self._run_node(node)
            last = map_arg(output(self._reference).args[0], self._values.__getitem__)
            pairs = [
                (value, error)
                for value, error in zip(pytree.tree_leaves(last), errors)
                if error is not None and isinstance(value, Tensor) and value.requires_grad
            ]
            if pairs:
                total = sum((value * error).sum() for value, error in pairs)
                assert isinstance(total, Tensor)
                total.backward()  # type: ignore[no-untyped-call]
        return self._found

    def _run_node(self, node: Node) -> Any:
        handle = handle_of(node)
        twin = self._twins.get(handle) if handle is not None else None
        value = self._computed(node, twin)
        actual = None if twin is None else self._actual(twin)
        if handle is None or not _is_like(actual, value):
            return value

        def note(part: Part) -> None:
            self._found.ops[handle] += part

        return self._replaced(value, actual, note)

    def _computed(self, node: Node, twin: Node | None) -> Any:
        """The op of the reference on what the quantized op reads."""
        written = written_by(node)
        read: dict[Node, Any] = {}
        mine = pytree.tree_leaves((node.args, node.kwargs))
        theirs = [] if twin is None else pytree.tree_leaves((twin.args, twin.kwargs))
        for source, other in zip(mine, theirs if len(theirs) == len(mine) else mine):
            if isinstance(source, Node):
                read[source] = self._through_quantizers(source, node, other)
                if source in written:
                    read[source] = read[source].clone()
        args, kwargs = map_arg((node.args, node.kwargs), read.__getitem__)
        target: Any = node.target
        if target in CALLED_ONCE:
            # The region forbids derivatives, perhaps.
            body = next(each for each in node.args if each in bodies(node))
            target, args, kwargs = value_of(body), args[list(node.args).index(body) + 1 :], {}
        try:
            return target(*args, **kwargs)
        except Exception:
            # Not every op has a derivative.
            with torch.no_grad():
                args, kwargs = pytree.tree_map_only(Tensor, Tensor.detach, (args, kwargs))
                return target(*args, **kwargs)

    def _through_quantizers(self, source: Node, reader: Node, read: Any) -> Any:
        value = self._values[source]
        if not (isinstance(read, Node) and is_dequantize(read) and isinstance(value, Tensor)):
            return value
        actual = self._actual(read)
        if not _is_like(actual, value):
            return value

        def note(part: Part) -> None:
            self._found.edges[(source.name, reader.name)] += part

        return self._replaced(value, actual, note)

    def _replaced(self, value: Tensor, actual: Tensor, note: Callable[[Part], None]) -> Tensor:
        # What depends on constants alone has a part, too: a quantized weight, for one.
        computed = value if value.requires_grad else value.detach().requires_grad_()
        made: Tensor = _Replace.apply(computed, actual.to(value.dtype), note)  # type: ignore[no-untyped-call]
        return made


def _is_like(actual: Any, value: Any) -> TypeGuard[Tensor]:
    """True if both are tensors of floating point numbers and of one shape."""
    return (
        isinstance(actual, Tensor)
        and isinstance(value, Tensor)
        and actual.shape == value.shape
        and actual.is_floating_point()
        and value.is_floating_point()
    )
