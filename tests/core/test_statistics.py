"""The figures of an error against a plain computation in float64, and the verdicts where there is none."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handlens.comparison import Statistics
from handlens.comparison.measuring import measure

Pairs = list[tuple[float, float]]

numbers = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=True)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40)


def gathered(*batches: Pairs) -> Statistics:
    statistics = Statistics()
    for batch in batches:
        r, a = (torch.tensor(column) for column in zip(*batch))
        statistics.add(measure(r, a))
    return statistics


def exact_sqnr(batch: Pairs) -> float:
    """In rational numbers, the only rounding being that of the difference in float32."""
    r, a = (torch.tensor(column) for column in zip(*batch))
    signal = sum(Fraction(x) ** 2 for x in r.tolist())
    noise = sum((Fraction(y) - Fraction(x)) ** 2 for x, y in zip(r.tolist(), a.tolist()))
    return 10 * (math.log10(signal) - math.log10(noise))


@given(pairs)
def test_sqnr_is_that_of_exact_arithmetic_at_any_scale(batch: Pairs) -> None:
    statistics = gathered(batch)
    if statistics.verdict == "ok":
        assert statistics.sqnr_db == pytest.approx(exact_sqnr(batch), abs=1e-3)
    elif statistics.verdict == "exact":
        assert all(r == a for r, a in batch)
        assert statistics.sqnr_db is None
    else:
        assert statistics.verdict == "no-signal"
        assert all(r == 0 for r, _ in batch)
        assert statistics.max_abs_error == max(abs(a) for _, a in batch)


@given(pairs, pairs)
def test_batches_are_pooled_by_energy(first: Pairs, second: Pairs) -> None:
    apart, together = gathered(first, second), gathered(first + second)
    assert apart.count == together.count
    assert apart.verdict == together.verdict
    assert apart.sqnr_db == pytest.approx(together.sqnr_db, abs=1e-3)
    assert apart.max_abs_error == together.max_abs_error
    assert apart.reference_range == together.reference_range


def test_the_reference_is_the_signal() -> None:
    assert gathered([(1.0, 1000.0)]).sqnr_db == pytest.approx(-59.99, abs=0.01)


def test_mse_error_cosine_and_ranges() -> None:
    statistics = gathered([(3.0, 3.0), (4.0, 2.0)])
    assert statistics.mse == 2.0
    assert statistics.max_abs_error == 2.0
    assert statistics.cosine == pytest.approx(17 / (5 * math.sqrt(13)))
    assert statistics.reference_range == (3.0, 4.0)
    assert statistics.actual_range == (2.0, 3.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_on_the_actual_side_only_is_counted(value: float) -> None:
    statistics = gathered([(1.0, value), (2.0, 2.5)])
    assert statistics.verdict == "non-finite"
    assert statistics.sqnr_db is None
    assert statistics.non_finite == 1
    assert statistics.max_abs_error == 0.5


def test_what_is_not_finite_in_the_reference_takes_no_part() -> None:
    statistics = gathered([(-math.inf, -math.inf), (math.nan, 1.0), (2.0, 1.0)])
    assert statistics.verdict == "ok"
    assert statistics.count == 1
    assert statistics.sqnr_db == pytest.approx(6.02, abs=0.01)


def test_small_noise_does_not_cancel() -> None:
    assert gathered([(1.0, 1.0 + 2**-23)] * 10).sqnr_db == pytest.approx(20 * math.log10(2**23))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_other_types_are_compared_by_value(dtype: torch.dtype) -> None:
    statistics = Statistics()
    statistics.add(measure(torch.tensor([1, 1]).to(dtype), torch.tensor([1, 0]).to(dtype)))
    assert statistics.sqnr_db == pytest.approx(3.01, abs=0.01)


def test_complex_numbers_are_compared_in_both_parts() -> None:
    statistics = Statistics()
    statistics.add(measure(torch.tensor([3 + 4j]), torch.tensor([3 + 3j])))
    assert statistics.sqnr_db == pytest.approx(13.98, abs=0.01)
