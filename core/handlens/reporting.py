"""From measurements to a report: what was measured at each op, what it reads, and what was not compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch.fx import GraphModule, Node

from handlens.capture.export import Captured
from handlens.capture.handles import graph_modules, handle_of, module_paths
from handlens.capture.places import Places
from handlens.comparison import Comparison
from handlens.comparison.control_flow import IN_STEP
from handlens.comparison.graph import UNUSED, Compared
from handlens.comparison.memory import Memory, bodies, operands
from handlens.comparison.nodes import is_whole, live, selects
from handlens.comparison.quantizers import value_of
from handlens.comparison.recorder import Recorder
from handlens.comparison.statistics import EMPTY, NO_TENSOR, UNKNOWN
from handlens.diagnosis import floor_sqnr_db
from handlens.recipes import Quantized
from handlens.report import (
    Coverage,
    ModelInput,
    OpReport,
    OutputAccuracy,
    Part,
    QuantizedBy,
    Quantizer,
    StaysInFloat,
    Unmatched,
    op_name,
)

_FOLDED = "folded by the recipe"
_CONSTANT = "computed from constants, beforehand"
_UNINITIALIZED = "its memory is not initialized"
_NEVER = "never executed"
_WITHOUT_NOISE = (_FOLDED, _CONSTANT, UNUSED, _UNINITIALIZED, _NEVER)
_EXPECTED = (_FOLDED, NO_TENSOR, EMPTY, _CONSTANT, UNUSED, _UNINITIALIZED)


# Ops that make Inf or NaN of a zero, and which of their arguments that is.
_DIVIDES = {"div": 1, "div_": 1, "reciprocal": 0, "rsqrt": 0, "log": 0, "log2": 0, "log10": 0}


@dataclass(frozen=True)
class Measured:
    """What a comparison has measured, as a report has it."""

    ops: tuple[OpReport, ...]
    coverage: Coverage
    output: OutputAccuracy
    quantized_by: tuple[QuantizedBy, ...]


def measured(
    captured: Captured,
    quantized: Quantized,
    comparison: Comparison,
    places: Places,
    is_finite: bool,
) -> Measured:
    """The ops that were compared, in the order of their handles, and why the others were not.

    Of a float model that is not ``is_finite``, ops without a finite value are no news of their own.
    """
    expected = _EXPECTED if is_finite else (*_EXPECTED, UNKNOWN)
    reasons = dict(_unmatched(captured, quantized.reference, comparison))
    sources = _Sources(quantized.reference)
    # What reads what was not compared cannot be compared for the same reason.
    follows = {
        each.handle
        for each in comparison.compared
        if each.handle in reasons
        and any(
            reasons.get(source) == reasons[each.handle]
            for source in sources.of(each.reference, each.callers)[0]
        )
    }
    noises: dict[int | None, float] = {
        each.handle: each.measured.accumulated.noise for each in comparison.compared
    }
    described = {
        each.handle: _op(each, quantized, sources, reasons, noises, captured, places)
        for each in comparison.compared
        if each.handle not in reasons
    }
    ops = tuple(op for _, op in sorted(described.items()))
    nodes = {
        handle: node
        for graph_module in graph_modules(captured.program)
        for node in graph_module.graph.nodes
        if (handle := handle_of(node)) is not None
    }
    coverage = Coverage(
        len(nodes),
        len(ops),
        sum(not op.in_float for op in ops),
        tuple(
            Unmatched(
                op_of(node := nodes[handle]),
                node.name,
                module_of(node),
                reason,
                handle,
                places.shown(captured.spans(node)),
                reason in expected or handle in follows,
            )
            for handle, reason in sorted(reasons.items())
        ),
        quantized.unquantized,
        tuple(
            StaysInFloat(
                op_of(node := nodes[handle]),
                node.name,
                module_of(node),
                quantized.in_float[handle],
                handle,
                places.shown(captured.spans(node)),
            )
            for handle in sorted(quantized.expected & nodes.keys())
        ),
    )
    total = comparison.output.total.accumulated
    compared = total.verdict not in ("not-compared", "non-finite")
    output = OutputAccuracy(
        total.verdict,
        total.sqnr_db,
        total.mse,
        total.max_abs_error if compared else None,
        total.cosine,
        total.reason if total.verdict == "not-compared" else "",
    )
    return Measured(ops, coverage, output, quantized.quantized_by)


# -- what was compared -----------------------------------------------------------------------------


def _op(
    compared: Compared,
    quantized: Quantized,
    sources: _Sources,
    unmatched: dict[int, str],
    noises: Mapping[int | None, float],
    captured: Captured,
    places: Places,
) -> OpReport:
    node, handle = compared.reference, compared.handle
    # The call of a body is not in the stack of what the body does.
    chain = (node, *compared.callers)
    spans, shown = places.of(tuple(s for each in chain for s in captured.spans(each)))
    read, traced = sources.of(node, compared.callers)
    measurements = compared.measured
    total, own = measurements.accumulated, measurements.introduced
    lost = measurements.channel_noise
    op = OpReport(
        handle=handle,
        op=op_of(node),
        node=compared.name,
        module=module_of(node) or next(filter(None, map(module_of, compared.callers)), ""),
        inputs=read,
        spans=spans,
        shown=shown,
        verdict=total.verdict,
        sqnr_db=total.sqnr_db,
        introduced_verdict=measurements.introduced_verdict,
        introduced_sqnr_db=own.sqnr_db,
        introduced_share=own.noise / total.noise if total.noise else 0.0,
        floor_sqnr_db=None,
        mse=total.mse,
        max_abs_error=total.max_abs_error if total.count else None,
        cosine=total.cosine,
        reference_range=total.reference_range,
        actual_range=total.actual_range,
        saturated=measurements.outside / total.count if total.count else 0.0,
        quantizers=(*_quantizers(compared, quantized), *quantized.described.get(handle, ())),
        reference_rms=total.rms,
        weight_share=float(measurements.weight_noise) / own.noise if own.noise else None,
        clipping_share=min(1.0, float(measurements.clipping_noise) / own.noise)
        if own.noise
        else 0.0,
        vanished=total.vanished / total.nonzero if total.nonzero else 0.0,
        channels=compared.channels,
        fan_in=compared.fan_in,
        input_rms=compared.input.total.accumulated.rms if compared.input else None,
        executions=measurements.executions,
        worst_batch=measurements.worst_batch,
        worst_batch_sqnr_db=None
        if measurements.worst_batch is None
        else measurements.worst_sqnr_db,
        errors=compared.recorder.errors,
        in_float=quantized.in_float.get(handle, ""),
        whole=is_whole(node),
        missed=tuple(_missed(compared, noises)),
        input_share=_input_share(compared),
        model_inputs=tuple(_model_inputs(compared, quantized.observed)),
        channel_noise=lost.relative if lost else None,
        introduced_channel_noise=lost.introduced_relative if lost else None,
        parts=tuple(_parts(compared)),
        divisor=_divisor(node),
        uncalibrated=_uncalibrated(compared, quantized),
        masked=measurements.masked / (measurements.masked + total.count) if total.count else 0.0,
        masked_min=measurements.masked_min if math.isfinite(measurements.masked_min) else None,
        traced=traced and all(unmatched.get(each, _NEVER) in _WITHOUT_NOISE for each in read),
    )
    return replace(op, floor_sqnr_db=floor_sqnr_db(op))


def _input_share(compared: Compared) -> float | None:
    """The share of the model's inputs in what an op introduces."""
    measurements = compared.measured
    own = measurements.introduced.noise
    if not compared.model_inputs or not own:
        return None
    # Where nothing else is quantized before the output, all of that is the inputs'.
    alone = measurements.input_noise or measurements.weight_noise
    return float(alone) / own


def _model_inputs(
    compared: Compared, observed: Mapping[int | str, tuple[float, float] | None]
) -> Iterator[ModelInput]:
    for node, quantizer, recorder in compared.model_inputs:
        total, own = recorder.total.accumulated, recorder.total.introduced
        yield ModelInput(
            str(node.target),
            replace(quantizer, observed=_finite(observed.get(str(node.target)))),
            total.sqnr_db,
            total.reference_range,
            recorder.total.outside / total.count if total.count else 0.0,
            min(1.0, float(recorder.total.clipping_noise) / own.noise) if own.noise else 0.0,
        )


def _quantizers(compared: Compared, quantized: Quantized) -> Iterator[Quantizer]:
    for each in compared.quantizers:
        seen = quantized.observed.get(compared.handle) if each.role == "output" else None
        yield replace(each, observed=_finite(seen))


def _finite(seen: tuple[float, float] | None) -> tuple[float, float] | None:
    """What calibration has seen, if that is a range: a mask may hold infinities."""
    return seen if seen is not None and all(map(math.isfinite, seen)) else None


def _uncalibrated(compared: Compared, quantized: Quantized) -> str:
    """Why a quantizer of an op, or of an input of the model that it reads, has no range to go by.

    What is zero in the evaluation, too, needs none.
    """
    seen = quantized.observed
    if seen and compared.quantizers and not any(seen.values()):
        return "no calibration input was given"
    places: list[tuple[int | str, str, Recorder]] = [
        (str(node.target), f"the model's input {node.target}", recorder)
        for node, _, recorder in compared.model_inputs
    ]
    if any(each.role == "output" for each in compared.quantizers):
        places.append((compared.handle, "it", compared.recorder))
    for place, what, recorder in places:
        total = recorder.total.accumulated
        if place not in seen or not total.signal:
            continue
        if seen[place] is None:
            return f"calibration never got to {what}"
        if seen[place] == (0.0, 0.0):
            return f"{what} was zero in all of the calibration"
    return ""


def _parts(compared: Compared) -> Iterator[Part]:
    if compared.parts is None:
        return
    sources, parts = compared.parts
    for source, relative in zip(sources, parts.relative):
        if (handle := handle_of(source)) is not None:
            yield Part(handle, relative)


def _divisor(node: Node) -> int | None:
    """The handle of what an op makes Inf or NaN of where it is zero."""
    at = _DIVIDES.get(op_name(op_of(node)))
    source = None if at is None or len(node.args) <= at else node.args[at]
    while isinstance(source, Node) and selects(source):
        source = source.args[0]
    return handle_of(source) if isinstance(source, Node) else None


def _missed(compared: Compared, noises: Mapping[int | None, float]) -> Iterator[int]:
    """The ops whose lost writes are most of what an input of this one differs by."""
    for each in compared.missed:
        handle, noise = handle_of(each.writer), each.recorder.total.accumulated.noise
        if handle is not None and noise > 2 * noises.get(handle_of(each.source), 0.0):
            yield handle


class _Sources:
    """What the ops of a graph read, by handle, into the bodies of control flow and out of them."""

    def __init__(self, model: GraphModule) -> None:
        self._body_of = {
            id(value_of(body)): body
            for graph_module in graph_modules(model)
            for node in graph_module.graph.nodes
            for body in bodies(node)
        }

    def of(self, node: Node, callers: tuple[Node, ...]) -> tuple[tuple[int, ...], bool]:
        """The handles of the ops that ``node`` reads, and whether they are all.

        ``callers`` are the control-flow ops in whose bodies it is, innermost first.
        """
        found: list[int] = []
        if node.target in IN_STEP:
            everything = self._given_by(node, None, callers, found)
        elif node.all_input_nodes and node.all_input_nodes[0].target in IN_STEP:
            # It picks one of the outputs of a body.
            source, index = node.args[0], node.args[1] if len(node.args) > 1 else None
            assert isinstance(source, Node)
            everything = self._given_by(source, index, callers, found)
        else:
            read = [self._read(each, callers, found) for each in node.all_input_nodes]
            everything = all(read)
        return tuple(dict.fromkeys(found)), everything

    def _given_by(
        self, node: Node, index: object, callers: tuple[Node, ...], found: list[int]
    ) -> bool:
        """Add what the bodies of a control-flow op return, all of it or at one index."""
        everything = True
        for body in bodies(node):
            returned = next(iter(reversed(value_of(body).graph.nodes))).args[0]
            if isinstance(index, int) and isinstance(returned, (list, tuple)):
                returned = returned[index] if index < len(returned) else returned
            leaves = torch.utils._pytree.tree_leaves(returned)
            for each in leaves:
                if isinstance(each, Node):
                    everything &= self._read(each, (node, *callers), found)
        return everything

    def _read(self, source: Node, callers: tuple[Node, ...], found: list[int]) -> bool:
        """Add the op that gives a value; False if something else may give it, too."""
        if (handle := handle_of(source)) is not None:
            found.append(handle)
            return True
        if source.op != "placeholder" or not callers:
            return True
        caller, *outer = callers
        body = self._body_of.get(id(source.graph.owning_module))
        operand = dict(operands(caller, body)).get(source) if body is not None else None
        if isinstance(operand, Node):
            self._read(operand, tuple(outer), found)
        # What a loop hands on to its next iteration comes from the loop, too.
        return caller.target not in _LOOPS and operand is not None


_LOOPS = (torch.ops.higher_order.while_loop, torch.ops.higher_order.scan)


# -- what was not ----------------------------------------------------------------------------------


def _unmatched(
    captured: Captured, reference: GraphModule, comparison: Comparison
) -> Iterator[tuple[int, str]]:
    """Handles of the captured program that have no statistics, and why."""
    there = {handle_of(node) for each in graph_modules(reference) for node in each.graph.nodes}
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
            elif measurements := compared[handle]:
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
    """The handles of the ops that no input of the model has a part in."""
    constant: set[Node] = set()
    for node in model.graph.nodes:
        if node.op == "get_attr" or (
            node.op == "call_function" and constant.issuperset(node.all_input_nodes)
        ):
            constant.add(node)
    return {handle_of(node) for node in constant}


def op_of(node: Node) -> str:
    """The op of a node: ``aten.conv2d.default``, or the name of the function or module it calls."""
    if isinstance(node.target, (str, torch._ops.OpOverload)):
        return str(node.target)
    return str(getattr(node.target, "__name__", node.target))


def module_of(node: Node) -> str:
    """The path of the innermost module that an op was called in."""
    paths = module_paths(node)
    return paths[-1] if paths else ""
