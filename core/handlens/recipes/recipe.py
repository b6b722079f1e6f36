"""What a recipe is: an exported program and its model in, a reference and a quantized graph out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch.fx import Graph, GraphModule, Node

from handlens import report
from handlens.capture.export import Captured
from handlens.capture.nodes import graph_modules, is_observer
from handlens.comparison.memory import initialize
from handlens.comparison.ops import has_effect
from handlens.loading.inputs import Inputs
from handlens.loading.subject import Subject
from handlens.report import Thresholds


@dataclass(frozen=True)
class Quantized:
    """The two graphs to compare, and what the rewrites before quantization did away with.

    They are called alike, with the inputs of the model. Ops that belong together have one debug handle.
    """

    reference: GraphModule
    """The float graph after the recipe's own rewrites, observers removed."""
    actual: GraphModule
    """The quantized graph."""
    unquantized: tuple[str, ...] = ()
    """Kinds of op that the recipe claims to quantize, that the graph has, and of which it did none."""
    described: Mapping[int, tuple[report.Quantizer, ...]] = field(default_factory=dict)
    """By handle, the quantizers of an op that are no quantize or dequantize nodes of the graph."""
    in_float: Mapping[int, str] = field(default_factory=dict)
    """By handle, why an op of the reference is left as it is. All others are quantized."""
    expected: frozenset[int] = frozenset()
    """Those of them that one would expect to be quantized: of a kind that the recipe quantizes."""
    quantized_by: tuple[report.QuantizedBy, ...] = ()
    observed: Mapping[int | str, tuple[float, float] | None] = field(default_factory=dict)
    """By handle of an op, or name of an input of the model, the smallest and the largest value that
    calibration gave the quantizer of what it gives; None where it gave none."""


class Recipe(Protocol):
    """A named way to quantize."""

    @property
    def name(self) -> str: ...

    @property
    def thresholds(self) -> Thresholds:
        """From which SQNR on an op is worth a look in its number format."""
        ...

    def quantize(self, captured: Captured, subject: Subject) -> Quantized:
        """Both graphs of a program that has handles. It and the subject's model are left as they are.

        Raises InvalidTarget for a ``keep_float`` or a batch that is none, CalibrationFailed,
        CannotQuantize, and whatever the quantization raises.
        """
        ...


class UnknownRecipe(ValueError):
    """A recipe that cannot be had; the message says what can."""


class CalibrationFailed(Exception):
    """Calibration raised ``error`` on ``inputs``, its ``batch``-th, counted from 1."""

    def __init__(self, error: Exception, batch: int, inputs: Inputs) -> None:
        super().__init__(error, batch)
        self.error = error
        self.batch = batch
        self.inputs = inputs


class CastFailed(Exception):
    """Exporting the model raised ``error`` once it was cast to ``dtype``: "bfloat16", say."""

    def __init__(self, error: Exception, dtype: str) -> None:
        super().__init__(error, dtype)
        self.error = error
        self.dtype = dtype


class CannotQuantize(Exception):
    """What is deployed would raise at ``node``; the message says why, and what to do."""

    def __init__(self, message: str, node: Node) -> None:
        super().__init__(message, node)
        self.message = message
        self.node = node


def float_module(captured: Captured) -> GraphModule:
    """The program as a module of its own, the bodies of control flow included. It shares the parameters.

    What nothing reads is not in it.
    """
    model = captured.program.module()
    assert isinstance(model, GraphModule)
    # The bodies are the program's, and recipes rewrite in place.
    model = without_observers(model)
    for each in graph_modules(model):
        initialize(each)
        _leave_out_unread(each)
        each.recompile()
    return model


def _leave_out_unread(model: GraphModule) -> None:
    """Take away what nothing reads and what has no effect.

    X86InductorQuantizer raises at such an op. When a model is lowered, it goes anyway.
    """
    for node in reversed(model.graph.nodes):
        # A module is called for what it checks.
        is_needed = node.op == "call_module" or node.is_impure() or has_effect(node)
        if not node.users and not is_needed:
            model.graph.erase_node(node)


def without_observers(prepared: GraphModule) -> GraphModule:
    """A copy of a prepared graph, the bodies of its control flow included, that computes in float.

    It shares the parameters.
    """
    graph = Graph()
    copies: dict[Node, Node] = {}
    for node in prepared.graph.nodes:
        if is_observer(node):
            copies[node] = copies[node.args[0]]
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.set_codegen(prepared.graph._codegen)
    copy = GraphModule(prepared, graph)
    for name, body in prepared.named_children():
        if isinstance(body, GraphModule) and hasattr(copy, name):
            setattr(copy, name, without_observers(body))
    return copy
