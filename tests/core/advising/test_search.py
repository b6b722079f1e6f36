"""The search measures few units, and chooses what a greedy search over all of them would."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

from hypothesis import given
from hypothesis import strategies as st

from handlens.advising.search import WORST, Search, Unit, Value

noises = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=30, unique=True)


def search(noise: Sequence[float], by_noise: bool = True) -> Search:
    """Units of one op, whose noises add up; what ranks first is what is loudest, or quietest."""
    units = [frozenset((index,)) for index in range(len(noise))]

    def measure(kept: Set[int]) -> Value:
        left = math.fsum(each for index, each in enumerate(noise) if index not in kept)
        return Value(0.0, math.inf if not left else -10 * math.log10(left))

    def rank(kept: Set[int]) -> list[Unit]:
        return sorted(units, key=lambda unit: -noise[min(unit)] if by_noise else noise[min(unit)])

    return Search(units, measure, rank, measure(frozenset()))


@given(noises)
def test_the_loudest_are_chosen_in_order(noise: list[float]) -> None:
    trials = list(search(noise).run(5))
    chosen = [trial for trial in trials if trial.is_chosen]
    assert len(chosen) == min(5, len(noise))
    decibels = [trial.value.decibels for trial in chosen]
    assert decibels == sorted(decibels)
    # Of those that win nearly the same any may come first, but never one that wins much less.
    loudest = search(noise).measure(frozenset((noise.index(max(noise)),)))
    assert chosen[0].value.decibels >= loudest.decibels - 0.06


@given(noises)
def test_it_is_deterministic(noise: list[float]) -> None:
    assert list(search(noise).run(3)) == list(search(noise).run(3))


def test_a_large_model_takes_a_tenth_of_the_measurements_of_a_search_over_all() -> None:
    noise = [1.0 / (index + 1) for index in range(90)]
    measured = [trial for trial in search(noise).run(8) if not trial.is_chosen]
    assert len(measured) <= sum(90 - count for count in range(8)) / 10


def test_of_a_small_model_what_every_unit_wins_alone_is_measured() -> None:
    found = list(search([1.0 / (index + 1) for index in range(40)]).run(2))
    assert len([trial for trial in found if not trial.chosen and not trial.is_chosen]) == 40


def test_what_cannot_be_measured_is_not_chosen() -> None:
    units = [frozenset((1,)), frozenset((2,))]

    def measure(kept: Set[int]) -> Value:
        return WORST if 1 in kept else Value(0.0, 20.0 if 2 in kept else 10.0)

    found = Search(units, measure, lambda kept: units, Value(0.0, 10.0))
    assert [trial.unit for trial in found.run(2) if trial.is_chosen] == [frozenset((2,))]


def test_the_metric_comes_first() -> None:
    units = [frozenset((1,)), frozenset((2,))]
    values = {1: Value(0.9, 12.0), 2: Value(0.8, 30.0)}
    found = Search(units, lambda kept: values[max(kept)], lambda kept: units, Value(0.5, 10.0))
    assert next(trial for trial in found.run(1) if trial.is_chosen).unit == {1}


def test_of_close_outputs_the_smaller_unit_is_chosen() -> None:
    units = [frozenset((1, 2)), frozenset((1,))]

    def measure(kept: Set[int]) -> Value:
        return Value(0.0, 20.0 + 0.02 * len(kept))

    found = Search(units, measure, lambda kept: units, Value(0.0, 10.0))
    assert next(trial for trial in found.run(1) if trial.is_chosen).unit == {1}
