"""Sums and extrema of an error, pooled over tensors. Every figure in a report comes from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from handlens.report import Verdict

UNKNOWN = "the reference is NaN or infinite throughout"
NO_TENSOR = "no tensor output"
EMPTY = "its output has no values"


class ExactSum:
    """A sum of floats without rounding, so that pooling gives the same whatever the order.

    The partial sums do not overlap (Shewchuk, Adaptive Precision Floating-Point Arithmetic, 1997).
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[float] = []

    def add(self, value: float) -> None:
        parts = []
        for part in self._parts:
            if abs(value) < abs(part):
                value, part = part, value
            total = value + part
            rest = part - (total - value)
            if rest:
                parts.append(rest)
            value = total
        self._parts = [*parts, value]

    def update(self, other: ExactSum) -> None:
        for part in other._parts:
            self.add(part)

    def __float__(self) -> float:
        return math.fsum(self._parts)


@dataclass
class Sums:
    """The sums and extrema of one pair of tensors, over the values that are finite in both."""

    count: int = 0
    signal: float = 0.0
    """Sum of r²."""
    noise: float = 0.0
    """Sum of (r − a)². Computed from differences, because sums of r², r·a and a² would cancel."""
    actual: float = 0.0
    """Sum of a²."""
    product: float = 0.0
    """Sum of r·a."""
    max_abs_error: float = 0.0
    reference_min: float = math.inf
    reference_max: float = -math.inf
    actual_min: float = math.inf
    actual_max: float = -math.inf
    non_finite: int = 0
    """How many values are NaN or infinite in the actual tensor only."""
    unknown: int = 0
    """How many values are NaN or infinite in the reference. They are not compared."""
    nan: int = 0
    """How many values are NaN in the reference."""
    empty: int = 0
    """How many tensors have no values."""
    nonzero: int = 0
    """How many reference values are not zero; counted only for a cast that may make them zero."""
    vanished: int = 0
    """How many of these are zero in the actual tensor."""


@dataclass
class Statistics:
    """How far actual values are from reference values, over any number of tensor pairs.

    Values that are not finite in the reference are left out. Decibels are never averaged: energies are
    summed, exactly and in any order, and the ratio is computed last.
    """

    count: int = 0
    max_abs_error: float = 0.0
    reference_min: float = math.inf
    reference_max: float = -math.inf
    actual_min: float = math.inf
    actual_max: float = -math.inf
    non_finite: int = 0
    unknown: int = 0
    nan: int = 0
    empty: int = 0
    nonzero: int = 0
    vanished: int = 0
    mismatch: str = ""
    """Why a pair could not be compared; empty if all could."""
    _signal: ExactSum = field(default_factory=ExactSum)
    _noise: ExactSum = field(default_factory=ExactSum)
    _actual: ExactSum = field(default_factory=ExactSum)
    _product: ExactSum = field(default_factory=ExactSum)

    def add(self, sums: Sums) -> None:
        """Pool the sums of a pair of tensors."""
        if not math.isfinite(sums.signal + sums.noise + sums.actual + sums.product):
            self.mismatch = "its values are too large to be squared"
            return
        # Extrema include values whose counterpart is not finite, and that are in no sum of squares.
        nonzero = max(abs(sums.reference_min), abs(sums.reference_max)) if sums.count else 0.0
        if (sums.max_abs_error and not sums.noise) or (
            not sums.signal and nonzero and not sums.non_finite
        ):
            self.mismatch = "its values are too small to be squared"
            return
        self._signal.add(sums.signal)
        self._noise.add(sums.noise)
        self._actual.add(sums.actual)
        self._product.add(sums.product)
        self._pool(sums)

    def update(self, other: Statistics) -> None:
        """Pool the statistics of other pairs. The result is the same in any order, to the bit."""
        self._signal.update(other._signal)
        self._noise.update(other._noise)
        self._actual.update(other._actual)
        self._product.update(other._product)
        self._pool(other)
        # Of several reasons one is told, the same in any order.
        self.mismatch = min(filter(None, (self.mismatch, other.mismatch)), default="")

    def _pool(self, other: Sums | Statistics) -> None:
        self.count += other.count
        self.non_finite += other.non_finite
        self.unknown += other.unknown
        self.nan += other.nan
        self.empty += other.empty
        self.nonzero += other.nonzero
        self.vanished += other.vanished
        self.reference_min = min(self.reference_min, other.reference_min)
        self.reference_max = max(self.reference_max, other.reference_max)
        self.actual_min = min(self.actual_min, other.actual_min)
        self.actual_max = max(self.actual_max, other.actual_max)
        self.max_abs_error = max(self.max_abs_error, other.max_abs_error)

    @property
    def signal(self) -> float:
        """Sum of r²."""
        return float(self._signal)

    @property
    def noise(self) -> float:
        """Sum of (r − a)²."""
        return float(self._noise)

    @property
    def verdict(self) -> Verdict:
        if self.non_finite:
            return "non-finite"
        if self.mismatch or not self.count:
            return "not-compared"
        if self.signal == 0:
            return "no-signal"
        return "exact" if self.noise == 0 else "ok"

    @property
    def reason(self) -> str:
        """Why not all values, or none, were compared; empty if all were."""
        if self.mismatch:
            return self.mismatch
        if self.count or self.non_finite:
            return ""
        if self.unknown:
            return UNKNOWN
        return EMPTY if self.empty else NO_TENSOR

    @property
    def sqnr_db(self) -> float | None:
        """10·log10(Σ r² / Σ (r − a)²) in dB; None if the verdict is not "ok"."""
        if self.verdict != "ok":
            return None
        return 10 * (math.log10(self.signal) - math.log10(self.noise))

    @property
    def mse(self) -> float | None:
        return self.noise / self.count if self.count else None

    @property
    def rms(self) -> float | None:
        """Root of the mean squared reference value."""
        return math.sqrt(self.signal / self.count) if self.count else None

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between reference and actual; None if one of them is zero."""
        norm = math.sqrt(self.signal) * math.sqrt(float(self._actual))
        return max(-1.0, min(1.0, float(self._product) / norm)) if norm else None

    @property
    def reference_range(self) -> tuple[float, float] | tuple[None, None]:
        return _range(self.reference_min, self.reference_max)

    @property
    def actual_range(self) -> tuple[float, float] | tuple[None, None]:
        return _range(self.actual_min, self.actual_max)


def _range(low: float, high: float) -> tuple[float, float] | tuple[None, None]:
    return (low, high) if low <= high else (None, None)
