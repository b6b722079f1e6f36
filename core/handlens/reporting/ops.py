"""From the measurements of each op to its part of the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch.fx import Node

from handlens.capture.export import Captured
from handlens.capture.handles import handle_of
from handlens.capture.nodes import is_whole, module_of, op_name, op_of
from handlens.capture.places import Places
from handlens.comparison import Comparison
from handlens.comparison.compared import Compared
from handlens.comparison.ops import selects
from handlens.comparison.recorder import Recorder
from handlens.diagnosis import floor_sqnr_db
from handlens.recipes import Quantized
from handlens.report import ModelInput, OpReport, Part, Quantizer
from handlens.reporting.coverage import has_known_noise
from handlens.reporting.data_flow import DataFlow

# Ops that give Inf or NaN for a zero, and the position of that argument.
_DIVIDES = {"div": 1, "div_": 1, "reciprocal": 0, "rsqrt": 0, "log": 0, "log2": 0, "log10": 0}


def op_reports(
    captured: Captured,
    quantized: Quantized,
    comparison: Comparison,
    reasons: Mapping[int, str],
    data_flow: DataFlow,
    places: Places,
) -> tuple[OpReport, ...]:
    """Report the ops that were compared, ordered by handle. ``reasons`` has the ops that were not."""
    noises: dict[int | None, float] = {
        each.handle: each.measured.accumulated.noise for each in comparison.compared
    }
    found = {
        each.handle: _op(each, quantized, reasons, data_flow, noises, captured, places)
        for each in comparison.compared
        if each.handle not in reasons
    }
    return tuple(op for _, op in sorted(found.items()))


def _op(
    compared: Compared,
    quantized: Quantized,
    reasons: Mapping[int, str],
    data_flow: DataFlow,
    noises: Mapping[int | None, float],
    captured: Captured,
    places: Places,
) -> OpReport:
    node, handle = compared.reference, compared.handle
    # The stack of an op in a body does not have the call of the control-flow op.
    chain = (node, *compared.callers)
    spans, shown = places.of(tuple(s for each in chain for s in captured.spans(each)))
    read, traced = data_flow.sources(node, compared.callers)
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
        errors=measurements.errors,
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
        traced=traced and all(has_known_noise(each, reasons) for each in read),
    )
    return replace(op, floor_sqnr_db=floor_sqnr_db(op))


def _input_share(compared: Compared) -> float | None:
    """The share of the noise that an op introduces which comes from quantized inputs of the model."""
    measurements = compared.measured
    own = measurements.introduced.noise
    if not compared.model_inputs or not own:
        return None
    # If nothing else is quantized before the output, all noise there comes from the inputs.
    alone = measurements.input_noise or measurements.weight_noise
    return float(alone) / own


def _model_inputs(
    compared: Compared, observed: Mapping[int | str, tuple[float, float] | None]
) -> Iterator[ModelInput]:
    for each in compared.model_inputs:
        name, measurements = str(each.node.target), each.recorder.total
        total, own = measurements.accumulated, measurements.introduced
        yield ModelInput(
            name,
            replace(each.quantizer, observed=_finite(observed.get(name))),
            total.sqnr_db,
            total.reference_range,
            measurements.outside / total.count if total.count else 0.0,
            min(1.0, float(measurements.clipping_noise) / own.noise) if own.noise else 0.0,
        )


def _quantizers(compared: Compared, quantized: Quantized) -> Iterator[Quantizer]:
    for each in compared.quantizers:
        seen = quantized.observed.get(compared.handle) if each.role == "output" else None
        yield replace(each, observed=_finite(seen))


def _finite(seen: tuple[float, float] | None) -> tuple[float, float] | None:
    """The range that calibration has seen; None if it is not finite, as that of a mask may be."""
    return seen if seen is not None and all(map(math.isfinite, seen)) else None


def _uncalibrated(compared: Compared, quantized: Quantized) -> str:
    """Why calibration gave a quantizer of an op, or of a model input that it reads, no range; else empty.

    A value that is zero in the evaluation, too, needs no range.
    """
    seen = quantized.observed
    if seen and compared.quantizers and not any(seen.values()):
        return "no calibration input was given"
    places: list[tuple[int | str, str, Recorder]] = [
        (str(each.node.target), f"the model's input {each.node.target}", each.recorder)
        for each in compared.model_inputs
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
    if not all(map(math.isfinite, parts.relative)):
        # A share of NaN is nobody's.
        return
    for source, relative in zip(sources, parts.relative):
        if (handle := handle_of(source)) is not None:
            yield Part(handle, relative)


def _divisor(node: Node) -> int | None:
    """The handle of the op whose zeros an op turns into Inf or NaN."""
    at = _DIVIDES.get(op_name(node))
    source = None if at is None or len(node.args) <= at else node.args[at]
    while isinstance(source, Node) and selects(source):
        source = source.args[0]
    return handle_of(source) if isinstance(source, Node) else None


def _missed(compared: Compared, noises: Mapping[int | None, float]) -> Iterator[int]:
    """The ops whose lost writes cause most of the difference in an input of this op."""
    for each in compared.lost_writes:
        handle, noise = handle_of(each.writer), each.recorder.total.accumulated.noise
        if handle is not None and noise > 2 * noises.get(handle_of(each.source), 0.0):
            yield handle
