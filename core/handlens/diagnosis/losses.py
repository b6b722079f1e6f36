"""Which ops answer for the losses of a report, and which only inherit them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from handlens.diagnosis.grouping import by_expression
from handlens.diagnosis.neighbours import Neighbours
from handlens.diagnosis.origins import Origins, sqnr
from handlens.report import OpReport, Severity, Thresholds


@dataclass(frozen=True)
class Expression:
    """The ops of one source expression that lose accuracy, or inherit a loss."""

    instances: Sequence[OpReport]
    losing: Sequence[OpReport]
    """Those that answer for a loss, and are calibrated."""
    is_calibrated: bool
    """False if one of them answers for a loss because it was not calibrated."""


class Losses:
    """The losses of a report, traced once for all rules that are about them.

    The ops in ``refuted`` answer for none: without their losses the output is no better, as was measured.
    """

    def __init__(
        self, ops: Sequence[OpReport], thresholds: Thresholds, refuted: Set[int] = frozenset()
    ) -> None:
        self._refuted = refuted
        self.neighbours = Neighbours(ops)
        self.origins = Origins(ops)
        self.charged: dict[int, OpReport] = {}
        """By handle of an op that answers for a loss, the op at which that loss is worst."""
        self.inherited: dict[int, OpReport | None] = {}
        """By handle of an op that only inherits a loss, the op that it comes from; None if not known."""
        self._thresholds = thresholds
        for op in ops:
            if self.severity(op) is not None:
                self._charge(op)
        for handle in self.charged:
            self.inherited.pop(handle, None)
        self.expressions = [
            self._expression(instances)
            for instances in by_expression(
                op for op in ops if op.handle in self.charged or op.handle in self.inherited
            )
        ]

    def severity(self, op: OpReport) -> Severity | None:
        """How grave the accumulated SQNR of an op is; None where it is fine."""
        # The ratio of indices or of a mask is no measure of what is made of them.
        if op.sqnr_db is None or op.whole:
            return None
        return self._thresholds.severity(op.sqnr_db)

    def _charge(self, op: OpReport) -> None:
        """Charge the low SQNR of ``op`` to the ops that it comes from."""
        named = self.origins.of(op)
        if self._loses_alone(op) and op not in named:
            named.append(op)
        named = [origin for origin in named if origin.handle not in self._refuted]
        for origin in named:
            worst = self.charged.setdefault(origin.handle, op)
            if sqnr(op) < sqnr(worst):
                self.charged[origin.handle] = op
        if op not in named:
            self.inherited[op.handle] = named[0] if named else None

    def _loses_alone(self, op: OpReport) -> bool:
        """True if an op loses too much even from exact inputs, however much its inputs lost before."""
        introduced = op.introduced_sqnr_db
        return introduced is not None and introduced < self._thresholds.warning_db

    def _expression(self, instances: Sequence[OpReport]) -> Expression:
        charged = [op for op in instances if op.handle in self.charged]
        losing = [op for op in charged if not op.uncalibrated]
        return Expression(instances, losing, is_calibrated=len(losing) == len(charged))
