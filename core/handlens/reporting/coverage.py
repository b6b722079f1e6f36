"""Which ops of a model were compared, and why the others were not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from torch.fx import GraphModule, Node

from handlens.capture.export import Captured
from handlens.capture.handles import handle_of, nodes_by_handle
from handlens.capture.nodes import graph_modules, module_of, op_of
from handlens.capture.places import Places
from handlens.comparison import Comparison
from handlens.comparison.compared import UNUSED
from handlens.comparison.memory import Memory
from handlens.comparison.ops import live
from handlens.comparison.statistics import EMPTY, NO_TENSOR, UNKNOWN
from handlens.recipes import Quantized
from handlens.report import Coverage, OpReport, Span, StaysInFloat, Unmatched
from handlens.reporting.data_flow import DataFlow

_FOLDED = "folded by the recipe"
_CONSTANT = "computed from constants, beforehand"
_UNINITIALIZED = "its memory is not initialized"
_NEVER = "never executed"
_WITHOUT_NOISE = (_FOLDED, _CONSTANT, UNUSED, _UNINITIALIZED, _NEVER)
_EXPECTED = (_FOLDED, NO_TENSOR, EMPTY, _CONSTANT, UNUSED, _UNINITIALIZED)


def reasons_against(
    captured: Captured, reference: GraphModule, comparison: Comparison
) -> dict[int, str]:
    """Why ops of the captured program have no statistics, by handle."""
    return dict(_unmatched(captured, reference, comparison))


def has_known_noise(handle: int, reasons: Mapping[int, str]) -> bool:
    """True if the noise that an op adds is known: the op was compared, or it cannot add any."""
    return reasons.get(handle, _NEVER) in _WITHOUT_NOISE


def coverage(
    captured: Captured,
    quantized: Quantized,
    comparison: Comparison,
    ops: tuple[OpReport, ...],
    reasons: Mapping[int, str],
    data_flow: DataFlow,
    places: Places,
    is_finite: bool,
) -> Coverage:
    """How many ops were compared and quantized, and the ``reasons`` why the others were not.

    If the float model is not ``is_finite``, ops without a finite value are expected.
    """
    nodes = nodes_by_handle(captured.program)
    expected = _EXPECTED if is_finite else (*_EXPECTED, UNKNOWN)
    implied = _implied(comparison, reasons, data_flow)

    def place(handle: int) -> Span | None:
        return places.shown(captured.spans(nodes[handle]))

    unmatched = tuple(
        Unmatched(
            op_of(nodes[handle]),
            nodes[handle].name,
            module_of(nodes[handle]),
            reason,
            handle,
            place(handle),
            reason in expected or handle in implied,
        )
        for handle, reason in sorted(reasons.items())
    )
    in_float = tuple(
        StaysInFloat(
            op_of(nodes[handle]),
            nodes[handle].name,
            module_of(nodes[handle]),
            quantized.in_float[handle],
            handle,
            place(handle),
        )
        for handle in sorted(quantized.expected & nodes.keys())
    )
    count_quantized = sum(not op.in_float for op in ops)
    return Coverage(
        len(nodes), len(ops), count_quantized, unmatched, quantized.unquantized, in_float
    )


def _implied(comparison: Comparison, reasons: Mapping[int, str], data_flow: DataFlow) -> Set[int]:
    """The ops that were not compared for the same reason as an op that they read."""
    return {
        each.handle
        for each in comparison.compared
        if each.handle in reasons
        and any(
            reasons.get(source) == reasons[each.handle]
            for source in data_flow.sources(each.reference, each.callers)[0]
        )
    }


def _unmatched(
    captured: Captured, reference: GraphModule, comparison: Comparison
) -> Iterator[tuple[int, str]]:
    there = nodes_by_handle(reference).keys()
    compared = {each.handle: each.measured for each in comparison.compared}
    constant = _constant(reference)
    for graph_module in graph_modules(captured.program):
        memory, read = Memory(graph_module), live(graph_module)
        for node in graph_module.graph.nodes:
            handle = handle_of(node)
            if handle is None:
                continue
            if handle not in there:
                yield handle, _FOLDED if node in read else UNUSED
            elif memory.is_uninitialized(node):
                yield handle, _UNINITIALIZED
            elif handle not in compared:
                reason = comparison.unmatched.get(handle, "inside the body of another op")
                yield handle, _CONSTANT if handle in constant and reason != UNUSED else reason
            else:
                measurements = compared[handle]
                total = measurements.accumulated
                if measurements.diverged and not total.mismatch:
                    runs = measurements.diverged + measurements.executions
                    ways = f"{measurements.diverged} of {runs} executions"
                    yield handle, f"the models took different ways in {ways}"
                elif not measurements.executions:
                    yield handle, _NEVER
                elif total.verdict == "not-compared" or total.mismatch:
                    yield handle, total.reason


def _constant(model: GraphModule) -> set[int | None]:
    """The handles of the ops that depend on no input of the model."""
    constant: set[Node] = set()
    for node in model.graph.nodes:
        if node.op == "get_attr" or (
            node.op == "call_function" and constant.issuperset(node.all_input_nodes)
        ):
            constant.add(node)
    return {handle_of(node) for node in constant}
