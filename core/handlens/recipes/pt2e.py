"""Post-training quantization with a torchao quantizer: prepare, calibrate, convert."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node
from torchao.quantization.pt2e import allow_exported_model_train_eval
from torchao.quantization.pt2e.quantizer import Quantizer

from handlens import handles
from handlens.capture import Captured
from handlens.loading import Inputs


class CalibrationFailed(Exception):
    """Calibration raised ``error`` while it computed ``node`` (None: before any operation)."""

    def __init__(self, error: Exception, node: Node | None) -> None:
        super().__init__(error, node)
        self.error = error
        self.node = node


@dataclass(frozen=True)
class Quantized:
    """The two graphs to compare, and what the rewrites before quantization did away with."""

    reference: GraphModule
    """The float graph after the recipe's own rewrites, observers removed."""
    actual: GraphModule
    """The converted graph."""
    unquantized: tuple[str, ...]
    """Kinds of op that the recipe claims to quantize, that the graph has, and of which it did none."""


def _no_rewrite(model: GraphModule) -> None:
    return None


@dataclass(frozen=True)
class Pt2eRecipe:
    """A named way to make a quantizer."""

    name: str
    make_quantizer: Callable[[], Quantizer]
    claims: tuple[str, ...] = ()
    """Names of the ops that it is known for, ``conv2d`` say."""
    annotate_graph: Callable[[GraphModule], None] = _no_rewrite
    """Gives the graph what the quantizer looks for and the export did not write."""

    def quantize(self, captured: Captured, calibration: Iterable[Inputs]) -> Quantized:
        """Both graphs of a program that has handles. The program is left as it is.

        Raises CalibrationFailed, and whatever the quantizer raises.
        """
        model = captured.program.module()
        assert isinstance(model, GraphModule)
        # The bodies of control flow are the program's own, and quantization rewrites in place.
        model = without_observers(model)
        self.annotate_graph(model)
        prepared = handles.prepare_pt2e(model, self.make_quantizer())
        reference = without_observers(prepared)
        allow_exported_model_train_eval(prepared)
        with torch.no_grad():
            for args, kwargs in calibration:
                try:
                    prepared(*args, **kwargs)
                except Exception as error:
                    raise CalibrationFailed(error, _failing_node(prepared, args, kwargs)) from error
            actual = handles.convert_pt2e(prepared)
        return Quantized(reference, actual, self._unquantized(actual))

    def _unquantized(self, actual: GraphModule) -> tuple[str, ...]:
        there: set[str] = set()
        quantized: set[str] = set()
        for node in actual.graph.nodes:
            name = _op_name(node)
            if name in self.claims:
                there.add(name)
                if any(handles.is_dequantize(each) for each in node.all_input_nodes):
                    quantized.add(name)
        return tuple(sorted(there - quantized))


def without_observers(prepared: GraphModule) -> GraphModule:
    """A copy of a prepared graph, the bodies of its control flow included, that computes in float.

    It shares the parameters.
    """
    graph = torch.fx.Graph()
    copies: dict[Node, Node] = {}
    for node in prepared.graph.nodes:
        if handles.is_observer(node):
            copies[node] = copies[node.args[0]]
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.set_codegen(prepared.graph._codegen)
    copy = GraphModule(prepared, graph)
    for name, body in prepared.named_children():
        if isinstance(body, GraphModule) and hasattr(copy, name):
            setattr(copy, name, without_observers(body))
    return copy


def _op_name(node: Node) -> str:
    target = node.target
    return target._opname if isinstance(target, torch._ops.OpOverload) else ""


def _failing_node(model: GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node | None:
    """Run a graph that fails once more, node by node, to see where."""
    last: Node | None = None

    class Locator(Interpreter):
        def run_node(self, n: Node) -> Any:
            nonlocal last
            last = n
            return super().run_node(n)

    try:
        Locator(model, garbage_collect_values=True).run(
            *torch.utils._pytree.tree_leaves((args, kwargs)), enable_io_processing=False
        )
    except Exception:
        return last if last is not None and handles.handle_of(last) is not None else None
    return None
