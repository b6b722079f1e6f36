"""Sums and extrema of an error, gathered tensor by tensor; every figure in a report comes from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from handlens.report import Verdict

# Squares of numbers within these bounds neither overflow nor vanish in float32.
_LARGEST = 1e15
_SMALLEST = 1e-15


@dataclass
class Statistics:
    """How far actual values are from reference values, over any number of tensor pairs.

    Sums are in float64; pairs where the reference itself is not finite take no part in them.
    Decibels are never averaged: energies are, and the ratio comes last.
    """

    count: int = 0
    signal: float = 0.0
    """Sum of r²."""
    noise: float = 0.0
    """Sum of (r − a)², the difference formed first: its parts would cancel."""
    product: float = 0.0
    """Sum of r·a."""
    actual: float = 0.0
    """Sum of a²."""
    max_abs_error: float = 0.0
    reference_min: float = math.inf
    reference_max: float = -math.inf
    actual_min: float = math.inf
    actual_max: float = -math.inf
    non_finite: int = 0
    """Values that are NaN or infinite on the actual side only."""
    outside: int = 0
    """Reference values beyond the range of the quantizer that follows."""
    mismatch: str = ""
    """Why a pair could not be compared, if one could not."""

    def add(self, reference: Any, actual: Any, limits: tuple[float, float] | None = None) -> None:
        """Take in a pair of tensors, or of equal (nested) sequences of tensors.

        ``limits`` are the smallest and largest value that the quantizer of the actual side can tell.
        """
        pairs = _pairs(reference, actual)
        if isinstance(pairs, str):
            self.mismatch = pairs
            return
        for r, a in pairs:
            if r.shape != a.shape:
                self.mismatch = f"shapes differ: {tuple(r.shape)} and {tuple(a.shape)}"
            elif r.numel():
                self._add(_floating(r.detach()), _floating(a.detach()), limits)

    def _add(self, r: Tensor, a: Tensor, limits: tuple[float, float] | None) -> None:
        low, high = (float(each) for each in torch.aminmax(r))
        actual_low, actual_high = (float(each) for each in torch.aminmax(a))
        if not math.isfinite(low + high + actual_low + actual_high):
            known = torch.isfinite(r)
            self.non_finite += int((known & ~torch.isfinite(a)).sum())
            both = known & torch.isfinite(a)
            if bool(both.any()):
                self._add(r[both], a[both], limits)
            return
        d = a.to(torch.promote_types(a.dtype, r.dtype)) - r
        error = float(d.abs().max())
        largest = max(abs(low), abs(high), abs(actual_low), abs(actual_high))
        if r.dtype != torch.float64 and (
            largest > _LARGEST or 0 < largest < _SMALLEST or 0 < error < _SMALLEST
        ):
            r, a = r.double(), a.double()
            d = a - r
            error = float(d.abs().max())
        self.count += r.numel()
        self.signal += _sum_of_products(r, r)
        self.noise += _sum_of_products(d, d)
        self.product += _sum_of_products(r, a)
        self.actual += _sum_of_products(a, a)
        self.max_abs_error = max(self.max_abs_error, error)
        self.reference_min = min(self.reference_min, low)
        self.reference_max = max(self.reference_max, high)
        self.actual_min = min(self.actual_min, actual_low)
        self.actual_max = max(self.actual_max, actual_high)
        if limits is not None and (low < limits[0] or high > limits[1]):
            self.outside += int(((r < limits[0]) | (r > limits[1])).sum())

    @property
    def verdict(self) -> Verdict:
        if self.non_finite:
            return "non-finite"
        if self.noise == 0:
            return "exact"
        return "no-signal" if self.signal == 0 else "ok"

    @property
    def sqnr_db(self) -> float | None:
        """10·log10(Σ r² / Σ (r − a)²) in dB; None where the verdict is not "ok"."""
        if self.verdict != "ok":
            return None
        return 10 * (math.log10(self.signal) - math.log10(self.noise))

    @property
    def mse(self) -> float | None:
        return self.noise / self.count if self.count else None

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between reference and actual; None where one of them is zero."""
        norm = math.sqrt(self.signal) * math.sqrt(self.actual)
        return max(-1.0, min(1.0, self.product / norm)) if norm else None

    @property
    def reference_range(self) -> tuple[float, float] | tuple[None, None]:
        return (self.reference_min, self.reference_max) if self.count else (None, None)

    @property
    def actual_range(self) -> tuple[float, float] | tuple[None, None]:
        return (self.actual_min, self.actual_max) if self.count else (None, None)


class Recorder(nn.Module):
    """A statistics node of a comparison graph: the accumulated and the introduced error of one op."""

    def __init__(self, limits: tuple[float, float] | None = None) -> None:
        super().__init__()
        self.limits = limits
        self.accumulated = Statistics()
        self.introduced = Statistics()

    def forward(
        self, reference: Any, accumulated: tuple[Any, ...], introduced: tuple[Any, ...]
    ) -> None:
        """Several actual values are what several quantizers of the same output make of it."""
        for actual in accumulated:
            self.accumulated.add(reference, actual, self.limits)
        for actual in introduced:
            self.introduced.add(reference, actual, self.limits)


def _pairs(reference: Any, actual: Any) -> list[tuple[Tensor, Tensor]] | str:
    if isinstance(reference, Tensor) and isinstance(actual, Tensor):
        return [(reference, actual)]
    if isinstance(reference, (list, tuple)) and isinstance(actual, (list, tuple)):
        if len(reference) != len(actual):
            return f"{len(reference)} outputs and {len(actual)}"
        found: list[tuple[Tensor, Tensor]] = []
        for r, a in zip(reference, actual):
            pairs = _pairs(r, a)
            if isinstance(pairs, str):
                return pairs
            found.extend(pairs)
        return found
    if isinstance(reference, Tensor) or isinstance(actual, Tensor):
        return "only one of the outputs is a tensor"
    return []


def _floating(tensor: Tensor) -> Tensor:
    """The values as float32, float64 where float32 would round them; complex as pairs of reals."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.to(torch.float32 if tensor.is_floating_point() else torch.float64)


def _sum_of_products(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum(dtype=torch.float64))
