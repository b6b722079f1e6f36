"""How numbers, lists and verdicts are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from handlens import words
from handlens.report import OutputAccuracy
from tests.sample_ops import sample_op


@pytest.mark.parametrize(
    ("write", "value", "expected"),
    [
        (words.decibels, 12.34, "12.3 dB"),
        (words.decibels, -0.04, "0.0 dB"),
        (words.decibels, -3.25, "-3.2 dB"),
        (words.percent, 0.0, "0 %"),
        (words.percent, 0.0004, "< 0.1 %"),
        (words.percent, 0.0425, "4.25 %"),
        (words.portion, 0.634, "63 %"),
        (words.portion, 0.995, "all"),
        (words.portion, 1.7, "all"),
        (words.number, 0.012345, "0.0123"),
        (words.number, 65504.0, "6.55e+04"),
        (words.listed, ["a"], "a"),
        (words.listed, ["a", "b"], "a and b"),
        (words.listed, ["a", "b", "c"], "a, b and c"),
        (words.counts, Counter(["linear", "lstm", "lstm"]), "2 lstm, 1 linear"),
    ],
)
def test_values_are_written_in_one_way(
    write: Callable[[Any], str], value: Any, expected: str
) -> None:
    assert write(value) == expected


@pytest.mark.parametrize(
    ("amount", "noun", "expected"),
    [
        (1, "batch", "1 batch"),
        (2, "batch", "2 batches"),
        (0, "op", "0 ops"),
        (3, "information", "3 information"),
    ],
)
def test_things_are_counted_in_the_plural(amount: int, noun: str, expected: str) -> None:
    assert words.count(amount, noun) == expected


def test_a_module_is_named_if_there_is_one() -> None:
    assert words.at_module("conv2d 12.3 dB", "stem") == "conv2d 12.3 dB · stem"
    assert words.at_module("conv2d 12.3 dB", "") == "conv2d 12.3 dB"
    assert words.in_module("conv2d", "stem") == "conv2d in stem"
    assert words.in_module("conv2d", "") == "conv2d"


def test_what_is_left_in_float_is_never_called_exact() -> None:
    quantized = sample_op(1, None)
    in_float = sample_op(1, None, in_float="kept by request")
    assert words.accumulated(quantized) == words.introduced(quantized) == "exact"
    assert words.accumulated(in_float) == "no noise"
    assert words.introduced(in_float) == "not quantized"
    assert words.in_float(in_float) == "not quantized: kept by request"


def test_an_output_that_was_not_compared_has_its_reason() -> None:
    output = OutputAccuracy("not-compared", None, None, None, None, "it is text")
    assert words.output(output) == "not compared: it is text"
