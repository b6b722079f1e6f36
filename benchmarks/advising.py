"""Advice beside other methods: which units each keeps in float, and what the output gains by it.

``python -m benchmarks.advising SUBJECT`` measures one subject and prints it as JSON; an argument
``FILE::TARGET@RECIPE`` is one, too. Every output that is printed is that of a real run of the recipe. To
find an order, the graph is switched: the outputs are the same, and it takes seconds instead of an hour.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median
from typing import get_args

import torch
from torch.utils import _pytree as pytree

from benchmarks import orders, preparing
from benchmarks.advice_subjects import COUNTS, SUBJECTS, own
from benchmarks.orders import Kept, Measure
from benchmarks.workloads import ROOT, Workload
from handlens.advice_report import Advice, Scores
from handlens.advising.measuring import Measuring, real_run
from handlens.capture.export import capture
from handlens.capture.handles import generate_numeric_debug_handle
from handlens.comparison.objectives import Objectives
from handlens.diagnosis.judging import judge
from handlens.diagnosis.rules.low_sqnr import LowSqnr
from handlens.loading.inputs import Inputs
from handlens.loading.subject import Batch
from handlens.recipes import resolve
from handlens.report import Report, Severity
from handlens.request import AdviceRequest, RunRequest
from handlens.session import Session

SEVERITIES = get_args(Severity)


@dataclass(frozen=True)
class Method:
    """A way to choose units, and what comes of it. Tuples have an item for each of ``COUNTS``."""

    outputs_db: tuple[float | None, ...]
    """The SQNR of the output with so many units in float; None without noise."""
    predicted_db: tuple[float | None, ...]
    """The same without running the recipe: as the advice tells it, or by a switch."""
    unseen_db: tuple[float | None, ...] | None
    """The same on batches that no method looked at; None if there are none."""
    measurements: int


@dataclass(frozen=True)
class Accusations:
    """The ops that HL101 names, and whether those are the ones worth keeping in float."""

    wins_db: tuple[float | None, ...]
    """What each wins, the best unit of the op in float alone; None if no noise is left. The first is named
    first."""
    in_set: tuple[bool, ...]
    """For each, whether a step of the advice keeps it in float: it may win beside others only."""
    first_is_best: bool
    """True if the op that is named first is of the unit that wins most of all."""


@dataclass(frozen=True)
class Metric:
    """What a target's own metric says."""

    name: str
    reference: float
    quantized: tuple[float, ...]
    """Of a real run without any change, then with one change of the advice, with two, and so on."""


@dataclass(frozen=True)
class Row:
    """One model under one recipe."""

    subject: str
    title: str
    recipe: str
    units: int
    before_db: float
    unseen_before_db: float | None
    """On the batches that no method looked at."""
    compare_s: float
    real_run_s: float
    """The time of one measurement by quantizing anew, with the calibration of before, and running both
    graphs."""
    methods: dict[str, Method]
    first_s: float | None
    """The time to the first advice with a change that wins."""
    advice_s: float
    accused: Accusations
    """Before advice."""
    accused_advised: Accusations
    """With advice, which withdraws accusations."""
    metric: Metric | None
    """None if the target has none."""


class Bench:
    """A model whose ops can be kept in float."""

    def __init__(self, workload: Workload) -> None:
        self._subject = subject = preparing.subject(workload)
        self._captured = capture(
            subject.model, subject.args, subject.kwargs, subject.dynamic_shapes
        )
        generate_numeric_debug_handle(self._captured.program)
        self._recipe = resolve(workload.recipe)
        quantized = self._recipe.quantize(self._captured, subject)
        assert quantized.switch is not None
        switch = quantized.switch()
        self.units: list[Kept] = switch.units
        batches = list(subject.evaluation_batches())
        self.switches = Measuring(quantized, switch, batches, Objectives(self._captured, subject))
        calibration = enumerate(subject.calibration_inputs(), 1)
        self._unseen = Measuring(
            quantized,
            switch,
            [
                Batch(number, inputs, inputs)
                for number, inputs in calibration
                if not any(_are_equal(inputs, each.inputs) for each in batches)
            ],
            # Its labels, if there are any, are not known here.
            Objectives(self._captured, replace(subject, metric=None)),
        )

    def real(self, kept: Iterable[str | int]) -> float:
        """The SQNR of the output of a real run of the recipe with ``kept`` in ``keep_float``."""
        return decibels(real_run(self._captured, self._subject, self._recipe, tuple(kept)))

    def switched(self, kept: Kept) -> float:
        """The same for ops by their handles, in the graph that is quantized already."""
        return decibels(self.switches.scores(kept))

    def unseen(self, kept: Kept) -> float | None:
        """The same on the calibration batches that are no evaluation batches; None if there are none."""
        scores = self._unseen.scores(kept)
        return None if scores.sqnr_db is None and not scores.exact else decibels(scores)


def _are_equal(one: Inputs, other: Inputs) -> bool:
    """True if two batches have the same numbers."""
    pairs = zip(pytree.tree_leaves(one), pytree.tree_leaves(other))
    return all(torch.equal(first, second) for first, second in pairs)


def decibels(scores: Scores) -> float:
    return math.inf if scores.exact else scores.sqnr_db or -math.inf


def measure(workload: Workload) -> Row:
    """Measure one subject."""
    bench = Bench(workload)
    start = time.perf_counter()
    before = bench.real(())
    real_run_s = time.perf_counter() - start

    target = workload.find()
    request = RunRequest(target, recipe=workload.recipe, workspace=(str(ROOT),))
    session = Session(request, lambda stage: None)
    report = session.load() or session.export() or session.compare(request)
    assert report.error is None, report.error.message
    # As in the worker.
    gc.freeze()
    # The first one has filled torch's tables.
    compared = [session.compare(request) for _ in range(3)]
    report = compared[-1]
    first: list[float] = []
    start = time.perf_counter()

    def on_advice(advice: Advice) -> None:
        if not first and (advice.steps or advice.alone):
            first.append(time.perf_counter() - start)

    advised = session.advise(report, AdviceRequest(most=COUNTS[-1]), on_advice)
    advice_s = time.perf_counter() - start
    advice = advised.advice
    assert advice is not None
    measured = Measure(bench.switched, bench.switches.hold)
    methods = {
        "advice": _advised(bench, advice, before),
        "greedy": _method(bench, measured, partial(orders.greedy, bench.units)),
        "ablation": _method(bench, measured, partial(orders.ablation, bench.units)),
        "injection": _method(bench, measured, partial(orders.injection, bench.units)),
    }
    wins = [measured(unit) - before for unit in bench.units]
    return Row(
        workload.name,
        workload.title,
        report.recipe,
        len(bench.units),
        before,
        bench.unseen(frozenset()),
        median(each.timings["compare"] for each in compared),
        real_run_s,
        methods,
        first[0] if first else None,
        advice_s,
        _accusations(judge(report, (), {}, target.declaration), advice, bench, wins),
        _accusations(judge(advised, (), {}, target.declaration), advice, bench, wins),
        _metric(session, request, report, advice),
    )


def _metric(session: Session, request: RunRequest, report: Report, advice: Advice) -> Metric | None:
    assert report.output is not None
    metric = report.output.metric
    if metric is None:
        return None
    found = []
    for count in range(len(advice.steps) + 1):
        entries = [entry for step in advice.steps[:count] for entry in step.change.entries]
        output = session.compare(replace(request, keep_float=tuple(entries))).output
        assert output is not None
        assert output.metric is not None
        assert output.metric.quantized is not None
        found.append(output.metric.quantized)
    assert metric.reference is not None
    return Metric(metric.name, metric.reference, tuple(found))


def _advised(bench: Bench, advice: Advice, before: float) -> Method:
    steps = [advice.steps[:count] for count in COUNTS]
    entries = [[entry for step in each for entry in step.change.entries] for each in steps]
    kept = [frozenset(handle for step in each for handle in step.change.handles) for each in steps]
    return Method(
        tuple(finite(bench.real(each)) for each in entries),
        tuple(_told(each[-1].output) if each else finite(before) for each in steps),
        _unseen(bench, kept),
        advice.measurements,
    )


def _method(bench: Bench, measured: Measure, choose: Callable[[Measure, int], Kept]) -> Method:
    counted = Measure(measured, measured.hold)
    kept = [choose(counted, most) for most in COUNTS]
    return Method(
        tuple(finite(bench.real(sorted(each))) for each in kept),
        tuple(finite(measured(each)) for each in kept),
        _unseen(bench, kept),
        counted.count,
    )


def _unseen(bench: Bench, kept: Sequence[Kept]) -> tuple[float | None, ...] | None:
    outputs = [bench.unseen(each) for each in kept]
    return None if None in outputs else tuple(finite(each) for each in outputs if each is not None)


def _accusations(
    judged: Report, advice: Advice, bench: Bench, wins: Sequence[float]
) -> Accusations:
    """Args: wins: For each unit, the dB that it wins alone."""
    accused = sorted(
        (each for each in judged.findings if each.rule == LowSqnr.code),
        key=lambda each: SEVERITIES.index(each.severity),
    )
    of_op = [
        max((win for unit, win in zip(bench.units, wins) if each.handle in unit), default=0.0)
        for each in accused
    ]
    kept = {handle for step in advice.steps for handle in step.change.handles}
    return Accusations(
        tuple(map(finite, of_op)),
        tuple(each.handle in kept for each in accused),
        of_op[:1] == [max(wins)],
    )


def _told(scores: Scores) -> float | None:
    return None if scores.exact else scores.sqnr_db


def finite(ratio: float) -> float | None:
    """The ratio for JSON, which has no infinity."""
    return ratio if math.isfinite(ratio) else None


def main(name: str) -> None:
    with os.fdopen(os.dup(1), "w") as output:
        # Libraries may print, too.
        os.dup2(2, 1)
        row = measure(SUBJECTS.get(name) or own(name))
        output.write(json.dumps(asdict(row)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
