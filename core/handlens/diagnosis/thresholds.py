"""The thresholds under which an SQNR is worth a look, where somebody chose other ones than the recipe's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from handlens.report import Report, Thresholds


@dataclass(frozen=True)
class ChosenThresholds:
    """The thresholds that somebody set, of a project or in an editor; None for those left alone."""

    error_db: float | None = None
    warning_db: float | None = None
    information_db: float | None = None
    saturated_share: float | None = None

    @property
    def in_order(self) -> bool:
        """True if no severity has a higher threshold than a milder one."""
        chosen = [level for level in self._levels if level is not None]
        return chosen == sorted(chosen)

    def over(self, base: Thresholds) -> Thresholds:
        """These thresholds, completed by ``base``.

        A threshold of ``base`` that is out of order with the chosen ones moves to the nearest of them.
        """

        def level(at: int, preset: float) -> float:
            graver = [each for each in self._levels[: at + 1] if each is not None]
            milder = [each for each in self._levels[at:] if each is not None]
            return min([max([preset, *graver]), *milder])

        return Thresholds(
            level(0, base.error_db),
            level(1, base.warning_db),
            level(2, base.information_db),
            base.saturated_share if self.saturated_share is None else self.saturated_share,
        )

    @property
    def _levels(self) -> tuple[float | None, float | None, float | None]:
        return self.error_db, self.warning_db, self.information_db


def thresholds_in_force(report: Report, chosen: Iterable[ChosenThresholds]) -> Thresholds:
    """The thresholds that suit the recipe of a report, overridden by each of ``chosen`` in turn."""
    thresholds = report.thresholds
    for each in chosen:
        thresholds = each.over(thresholds)
    return thresholds
