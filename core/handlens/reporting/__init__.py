"""From measurements to a report: every op that was compared, the coverage, and the model's output."""

from __future__ import annotations

from dataclasses import dataclass

from handlens.capture.export import Captured
from handlens.capture.places import Places
from handlens.comparison import Comparison, Statistics
from handlens.comparison.objectives import OutputAgreement
from handlens.recipes import Quantized
from handlens.report import Coverage, OpReport, OutputAccuracy, QuantizedBy
from handlens.reporting.coverage import coverage, reasons_against
from handlens.reporting.data_flow import DataFlow
from handlens.reporting.ops import op_reports


@dataclass(frozen=True)
class Measured:
    """The part of a report that comes from measurements."""

    ops: tuple[OpReport, ...]
    """In the order of their handles."""
    coverage: Coverage
    output: OutputAccuracy
    quantized_by: tuple[QuantizedBy, ...]


def measured(
    captured: Captured,
    quantized: Quantized,
    comparison: Comparison,
    agreement: OutputAgreement,
    places: Places,
    is_finite: bool,
) -> Measured:
    """What a comparison has measured, as a report has it.

    If the float model is not ``is_finite``, its ops without a finite value are no findings of their own.
    """
    reasons = reasons_against(captured, quantized.reference, comparison)
    data_flow = DataFlow(quantized.reference)
    ops = op_reports(captured, quantized, comparison, reasons, data_flow, places)
    return Measured(
        ops,
        coverage(captured, quantized, comparison, ops, reasons, data_flow, places, is_finite),
        _output(comparison.output.total.accumulated, agreement),
        quantized.quantized_by,
    )


def _output(total: Statistics, agreement: OutputAgreement) -> OutputAccuracy:
    compared = total.verdict not in ("not-compared", "non-finite")
    return OutputAccuracy(
        total.verdict,
        total.sqnr_db,
        total.mse,
        total.max_abs_error if compared else None,
        total.cosine,
        total.reason if total.verdict == "not-compared" else "",
        agreement.logits,
        agreement.metric,
    )
