"""The figures of an error against a plain computation in float64, and the verdicts where there is none."""

from __future__ import annotations

import math
from fractions import Fraction
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handlens.comparison import Statistics
from handlens.comparison.measuring import measure
from handlens.comparison.statistics import ExactSum

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


# -- every metric, on anything ---------------------------------------------------------------------

kinds = st.sampled_from(["normal", "constant", "zero", "sparse"])
scales = st.sampled_from([1e-44, 1e-38, 1e-20, 1e-6, 1.0, 1e6, 1e18, 1e30])
errors = st.sampled_from([0.0, 1e-12, 1e-6, 1e-2, 1.0, 1e4])
specials = st.lists(st.sampled_from([math.nan, math.inf, -math.inf]), max_size=3)
dtypes = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])


@given(
    kind=kinds,
    scale=scales,
    error=errors,
    in_reference=specials,
    in_actual=specials,
    dtype=dtypes,
    actual_dtype=dtypes,
    size=st.sampled_from([1, 3, 200]),
    block=st.sampled_from([16, 1 << 17]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=400, deadline=None)
def test_every_metric_is_that_of_float64_or_absent(
    kind: str,
    scale: float,
    error: float,
    in_reference: list[float],
    in_actual: list[float],
    dtype: torch.dtype,
    actual_dtype: torch.dtype,
    size: int,
    block: int,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(size, generator=generator, dtype=torch.float64)
    base = {
        "normal": base,
        "constant": torch.ones_like(base),
        "zero": torch.zeros_like(base),
        "sparse": base * (base > 1),
    }[kind]
    noise = error * torch.randn(size, generator=generator, dtype=torch.float64)
    reference = (scale * base).to(dtype)
    actual = (scale * (base + noise)).to(actual_dtype)
    for tensor, values in ((reference, in_reference), (actual, in_actual)):
        for place, value in enumerate(values[:size]):
            tensor[(7 * place) % size] = value

    statistics = Statistics()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("handlens.comparison.blocks._BLOCK", block)
        statistics.add(measure(reference, actual))

    r, a = reference.double(), actual.double()
    known = r.isfinite()
    non_finite = int((known & ~a.isfinite()).sum())
    # Also a value that the other side does not have says how far this one reaches.
    ranges = r[known], a[a.isfinite()]
    r, a = r[known & a.isfinite()], a[known & a.isfinite()]
    signal, error_energy = float((r * r).sum()), float(((r - a) ** 2).sum())
    if statistics.mismatch:
        # Squares beyond float64, which only float64 values can have.
        assert torch.float64 in (dtype, actual_dtype)
        return
    assert statistics.non_finite == non_finite
    assert statistics.count == len(r)
    for reach, found in zip(ranges, (statistics.reference_range, statistics.actual_range)):
        expected = (float(reach.min()), float(reach.max())) if len(reach) else (None, None)
        assert found == expected
    if non_finite:
        assert statistics.verdict == "non-finite"
    elif not len(r):
        assert statistics.verdict == "not-compared"
        assert statistics.reason
    elif signal == 0:
        assert statistics.verdict == "no-signal"
    elif bool((r == a).all()):
        assert statistics.verdict == "exact"
    else:
        assert statistics.verdict == "ok"
        ratio = 10 * (math.log10(signal) - math.log10(error_energy))
        assert statistics.sqnr_db == pytest.approx(ratio, abs=1e-3)
    if not len(r):
        assert statistics.mse is None
        assert statistics.cosine is None
        return
    assert statistics.mse == pytest.approx(error_energy / len(r), rel=1e-4, abs=0)
    assert statistics.max_abs_error == pytest.approx(float((r - a).abs().max()), rel=1e-6, abs=0)
    norm = math.sqrt(signal) * math.sqrt(float((a * a).sum()))
    if statistics.cosine is None:
        assert norm == 0
    else:
        assert statistics.cosine == pytest.approx(float((r * a).sum()) / norm, abs=1e-5)


def test_values_whose_squares_float64_cannot_hold_have_no_ratio_and_a_reason() -> None:
    for scale, word in ((1e200, "large"), (1e-200, "small")):
        statistics = Statistics()
        reference = torch.full((4,), scale, dtype=torch.float64)
        statistics.add(measure(reference, reference * 1.5))
        assert f"too {word} to be squared" in statistics.mismatch
        assert statistics.count == 0


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=30), st.randoms()
)
def test_a_sum_is_exact_in_any_order(values: list[float], random: Random) -> None:
    total = ExactSum()
    for value in values:
        total.add(value)
    random.shuffle(values)
    parts = [ExactSum(), ExactSum()]
    for value in values:
        parts[random.randrange(2)].add(value)
    parts[0].update(parts[1])
    assert float(total) == float(parts[0]) == float(sum(map(Fraction, values)))
