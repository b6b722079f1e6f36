"""From which SQNR on an op is worth a look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from handlens.report import Severity


@dataclass(frozen=True)
class Thresholds:
    """Accumulated SQNR, in dB, under which an op is worth a look; how much clipping is too much."""

    error_db: float = 10.0
    warning_db: float = 20.0
    information_db: float = 30.0
    saturated_share: float = 0.01

    def severity(self, sqnr_db: float) -> Severity | None:
        """The severity of an accumulated SQNR in dB, or None where it is fine."""
        if sqnr_db < self.error_db:
            return "error"
        if sqnr_db < self.warning_db:
            return "warning"
        return "information" if sqnr_db < self.information_db else None


# One op at the noise floor has about 40 dB with 8 bits, 20 dB with 4, 56 dB in bfloat16. The information
# is for what is 10 dB under it, the warning for 20, the error for 30; with 4 bits there is not that much
# room: at 0 dB the noise is as loud as the signal. In float16 an op at the floor has 74 dB, but nobody
# minds the 50 dB of a deep float16 model, so bfloat16's hold.
_8_BIT = Thresholds()
_4_BIT = Thresholds(0.0, 5.0, 10.0)
_HALF_PRECISION = Thresholds(25.0, 35.0, 45.0)
_PRESETS = {"int4-weight-only": _4_BIT, "bf16": _HALF_PRECISION, "fp16": _HALF_PRECISION}


def thresholds_for(recipe: str) -> Thresholds:
    """The thresholds that suit a recipe by its name: those for 8 bits if it is not known.

    Of recipes joined by ``+``, the coarsest decides.
    """
    presets = (_PRESETS.get(name, _8_BIT) for name in recipe.split("+"))
    return min(presets, key=lambda each: each.warning_db)


@dataclass(frozen=True)
class ChosenThresholds:
    """The thresholds that somebody set, of a project or in an editor; None for those left alone."""

    error_db: float | None = None
    warning_db: float | None = None
    information_db: float | None = None
    saturated_share: float | None = None

    @property
    def in_order(self) -> bool:
        """Whether no severity has a higher threshold than a milder one."""
        chosen = [level for level in self._levels if level is not None]
        return chosen == sorted(chosen)

    def over(self, base: Thresholds) -> Thresholds:
        """These, and where none is set that of ``base``, moved if need be to stay in order with these."""

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


def thresholds_in_force(recipe: str, chosen: Iterable[ChosenThresholds]) -> Thresholds:
    """Those that suit a recipe, and over them what somebody chose, each over those before it."""
    thresholds = thresholds_for(recipe)
    for each in chosen:
        thresholds = each.over(thresholds)
    return thresholds
