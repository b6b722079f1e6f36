"""Measure the cost of checking a result: the first batch with its checks, and the same batch without."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from benchmarks import preparing
from benchmarks.workloads import WORKLOADS
from handlens.capture.export import capture
from handlens.capture.handles import generate_numeric_debug_handle
from handlens.capture.places import Places
from handlens.comparison import merge
from handlens.loading.inputs import cloned
from handlens.report import Span
from handlens.verification import verify

_ROUNDS = 7


@dataclass(frozen=True)
class Cost:
    """Seconds for one batch, as medians of alternating runs."""

    workload: str
    model_s: float
    """A forward pass of the model."""
    quantized_s: float
    """A forward pass of the quantized graph."""
    comparison_s: float
    """A comparison of the batch, with the merging of the graphs."""
    verified_s: float
    """The same comparison with its checks."""

    @property
    def checks_s(self) -> float:
        return self.verified_s - self.comparison_s

    @property
    def ratio(self) -> float:
        """The time of the checks, relative to a forward pass of both."""
        return self.checks_s / (self.model_s + self.quantized_s)


def measure(names: tuple[str, ...]) -> Iterator[Cost]:
    """Measure the cost for each workload that is named."""
    for name in names:
        yield _cost(name)


def _cost(name: str) -> Cost:
    workload = WORKLOADS[name]
    subject = preparing.subject(workload)
    captured = capture(subject.model, subject.args, subject.kwargs, subject.dynamic_shapes)
    generate_numeric_debug_handle(captured.program)
    quantized = preparing.quantize(workload, captured, subject)
    inputs = next(subject.evaluation_inputs())
    places = Places(lambda file: False, Span("", 1, 0, 1, 0))

    def model() -> object:
        args, kwargs = cloned(inputs)
        return subject.model(*args, **kwargs)

    def actual() -> object:
        args, kwargs = cloned(inputs)
        return quantized.actual(*args, **kwargs)

    def comparison() -> object:
        return merge(quantized.reference, quantized.actual).run(*cloned(inputs))

    def verified() -> object:
        return verify(captured, subject, quantized, inputs, places)

    runs = (model, actual, comparison, verified)
    seconds: list[list[float]] = [[_timed(each) for each in runs] for _ in range(_ROUNDS + 1)]
    # The first round warms up.
    return Cost(name, *(statistics.median(column) for column in zip(*seconds[1:])))


def _timed(run: Callable[[], object]) -> float:
    with torch.no_grad():
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
