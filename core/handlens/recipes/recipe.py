"""What a recipe is: from an exported program it makes a reference and a quantized graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch.fx import Graph, GraphModule, Node

from handlens import report
from handlens.advice_report import ChangeKind
from handlens.capture.export import Captured
from handlens.capture.nodes import graph_modules, is_observer
from handlens.comparison.memory import initialize
from handlens.comparison.ops import has_effect
from handlens.loading.inputs import Inputs
from handlens.loading.subject import Subject
from handlens.recipes.switching import Switch
from handlens.report import Misspelled, Thresholds


@dataclass(frozen=True)
class Quantized:
    """The two graphs to compare, and how each op was quantized, or why it was not.

    Both are called with the inputs of the model. An op and its counterpart in the other graph have the same
    debug handle.
    """

    reference: GraphModule
    """The float graph after the recipe's own rewrites, observers removed."""
    actual: GraphModule
    """The quantized graph."""
    unquantized: tuple[str, ...] = ()
    """Kinds of op in the graph that the recipe claims to quantize, and of which none was quantized."""
    described: Mapping[int, tuple[report.Quantizer, ...]] = field(default_factory=dict)
    """By handle, the quantizers of an op that do not show as quantize or dequantize nodes in the graph."""
    in_float: Mapping[int, str] = field(default_factory=dict)
    """By handle, why an op of the reference stays in float. All others are quantized."""
    expected: frozenset[int] = frozenset()
    """The ops in ``in_float`` of a kind that the recipe quantizes, so that one would expect it."""
    quantized_by: tuple[report.QuantizedBy, ...] = ()
    observed: Mapping[int | str, tuple[float, float] | None] = field(default_factory=dict)
    """The smallest and the largest value that an observer has seen in calibration; None if it saw none.

    The key is the handle of the op whose output is observed, or the name of the model's input."""
    alternatives: Mapping[int, tuple[ChangeKind, ...]] = field(default_factory=dict)
    """By handle, the kinds of change in ``adjust`` that change how the op is quantized."""
    switch: Callable[[], Switch] | None = None
    """Makes the switch of the two graphs; None if there is none. The call may raise CannotSwitch."""


class Recipe(Protocol):
    """A named way to quantize."""

    @property
    def name(self) -> str: ...

    @property
    def thresholds(self) -> Thresholds:
        """The SQNR under which an op is worth a look, in the number format of the recipe."""
        ...

    def quantize(self, captured: Captured, subject: Subject) -> Quantized:
        """Make both graphs of a program that has debug handles. The program and the subject's model do not
        change.

        Raises InvalidTarget for a wrong ``keep_float``, ``adjust`` or batch, CalibrationFailed,
        CannotQuantize, and whatever the quantization raises.
        """
        ...


class UnknownRecipe(ValueError):
    """There is no such recipe, or it cannot be used here; the message says which can."""

    def __init__(self, message: str, misspelled: Misspelled | None = None) -> None:
        super().__init__(message)
        self.misspelled = misspelled


class CalibrationFailed(Exception):
    """Calibration raised ``error`` on ``inputs``, the batch with the number ``batch``, counted from 1."""

    def __init__(self, error: Exception, batch: int, inputs: Inputs) -> None:
        super().__init__(error, batch)
        self.error = error
        self.batch = batch
        self.inputs = inputs


class CastFailed(Exception):
    """Exporting the model raised ``error`` after it was cast to ``dtype``, which is "bfloat16", say."""

    def __init__(self, error: Exception, dtype: str) -> None:
        super().__init__(error, dtype)
        self.error = error
        self.dtype = dtype


class CannotQuantize(Exception):
    """What the user deploys with would raise at ``node``; the message says why, and what to do."""

    def __init__(self, message: str, node: Node) -> None:
        super().__init__(message, node)
        self.message = message
        self.node = node


def float_module(captured: Captured) -> GraphModule:
    """The program as a module that can be rewritten in place, bodies of control flow included.

    It shares the program's parameters. Ops that nothing reads are left out.
    """
    model = captured.program.module()
    assert isinstance(model, GraphModule)
    # ``module()`` shares the bodies with the program, and recipes rewrite in place.
    model = without_observers(model)
    for each in graph_modules(model):
        initialize(each)
        _leave_out_unread(each)
        each.recompile()
    return model


def _leave_out_unread(model: GraphModule) -> None:
    """Remove the ops that nothing reads and that have no effect.

    X86InductorQuantizer raises at such an op. Lowering a model removes it anyway.
    """
    for node in reversed(model.graph.nodes):
        # The modules that an exported program calls check its inputs.
        is_needed = node.op == "call_module" or node.is_impure() or has_effect(node)
        if not node.users and not is_needed:
            model.graph.erase_node(node)


def without_observers(prepared: GraphModule) -> GraphModule:
    """A copy of a prepared graph that computes in float, bodies of control flow included.

    It shares the parameters of ``prepared``.
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
