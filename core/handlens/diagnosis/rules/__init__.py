"""The rules: all kinds of findings, one file each."""

from __future__ import annotations

from collections.abc import Mapping

from handlens.diagnosis.rules.export_failed import ExportFailed
from handlens.diagnosis.rules.inherited_error import InheritedError
from handlens.diagnosis.rules.invalid_target import InvalidTarget
from handlens.diagnosis.rules.low_output import LowOutput
from handlens.diagnosis.rules.low_sqnr import LowSqnr
from handlens.diagnosis.rules.non_finite import NonFinite
from handlens.diagnosis.rules.non_finite_model import NonFiniteModel
from handlens.diagnosis.rules.not_calibrated import NotCalibrated
from handlens.diagnosis.rules.nothing_quantized import NothingQuantized
from handlens.diagnosis.rules.reference_differs import ReferenceDiffers
from handlens.diagnosis.rules.rule import Rule
from handlens.diagnosis.rules.run_failed import RunFailed
from handlens.diagnosis.rules.saturation import Saturation
from handlens.diagnosis.rules.stays_in_float import StaysInFloat
from handlens.diagnosis.rules.target_failed import TargetFailed
from handlens.diagnosis.rules.unmatched import Unmatched
from handlens.diagnosis.rules.unused_suppression import UnusedSuppression
from handlens.diagnosis.rules.worker_failed import WorkerFailed

IN_ORDER: tuple[Rule, ...] = (
    ReferenceDiffers(),
    NothingQuantized(),
    NotCalibrated(),
    NonFiniteModel(),
    LowSqnr(),
    Saturation(),
    InheritedError(),
    NonFinite(),
    LowOutput(),
    StaysInFloat(),
    Unmatched(),
    UnusedSuppression(),
    TargetFailed(),
    ExportFailed(),
    RunFailed(),
    WorkerFailed(),
    InvalidTarget(),
)
"""All rules, in the order that a report has their findings in."""

RULES: Mapping[str, Rule] = {
    rule.code: rule for rule in sorted(IN_ORDER, key=lambda each: each.code)
}
"""The rules by their codes."""
