"""How numbers, lists and verdicts are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from handlens import words
from handlens.report import LogitsAgreement, Metric, OutputAccuracy
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


@pytest.mark.parametrize(
    ("logits", "metric", "expected"),
    [
        (None, None, ""),
        (
            LogitsAgreement(0.972, 0.0314, 64),
            Metric("accuracy", 0.98214, 0.91382),
            " · top-1 agrees in 97.2 % of 64 rows · KL 0.0314 nats · accuracy 0.9821 → 0.9138",
        ),
        (LogitsAgreement(1.0, 0.0, 1), None, " · top-1 agrees in 100 % of 1 row · KL 0 nats"),
        # Neither is nearly all all, nor next to nothing nothing.
        (
            LogitsAgreement(0.9998, 3.4e-6, 5000),
            None,
            " · top-1 agrees in > 99.9 % of 5000 rows · KL < 0.001 nats",
        ),
        (LogitsAgreement(0.5, None, 2), None, " · top-1 agrees in 50 % of 2 rows"),
        (None, Metric("metric", -3.25, None), " · metric -3.25 → not finite"),
    ],
)
def test_what_there_is_beside_the_ratio_of_an_output_is_told_in_a_line(
    logits: LogitsAgreement | None, metric: Metric | None, expected: str
) -> None:
    output = OutputAccuracy("ok", 9.2, 0.1, 0.2, 0.9, "", logits, metric)
    assert words.beside(output) == expected


def test_of_logits_that_are_the_references_to_the_bit_there_is_nothing_to_tell() -> None:
    logits, metric = LogitsAgreement(1.0, 0.0, 64), Metric("accuracy", 0.5, 0.5)
    output = OutputAccuracy("exact", None, 0.0, 0.0, 1.0, "", logits, metric)
    assert words.beside(output) == " · accuracy 0.5 → 0.5"
    assert words.brief(output) == "exact, accuracy 0.5 → 0.5"


@pytest.mark.parametrize(
    ("logits", "metric", "expected"),
    [
        (None, None, "9.2 dB"),
        (LogitsAgreement(0.972, 0.03, 64), None, "9.2 dB, top-1 97.2 %"),
        (LogitsAgreement(0.972, 0.03, 64), Metric("map50", 0.5, 0.4), "9.2 dB, map50 0.5 → 0.4"),
    ],
)
def test_in_brief_there_is_one_figure_beside_the_ratio(
    logits: LogitsAgreement | None, metric: Metric | None, expected: str
) -> None:
    output = OutputAccuracy("ok", 9.2, 0.1, 0.2, 0.9, "", logits, metric)
    assert words.brief(output) == expected
