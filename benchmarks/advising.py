"""Advice beside other methods: which units each puts into float, and what the output gains by it.

``python -m benchmarks.advising SUBJECT`` measures one subject and prints it as JSON; an argument
``FILE::TARGET@RECIPE`` is one, too. Every output is that of a real run of the recipe.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import get_args

from benchmarks import orders, preparing
from benchmarks.orders import Counted
from benchmarks.workloads import ROOT, Workload
from handlens.advice_report import Advice, Scores
from handlens.advising.real_runs import real_run
from handlens.capture.export import Captured, capture
from handlens.capture.handles import generate_numeric_debug_handle, nodes_by_handle
from handlens.capture.nodes import module_of, op_name
from handlens.diagnosis.judging import judge
from handlens.diagnosis.rules.low_sqnr import LowSqnr
from handlens.loading.subject import Subject
from handlens.recipes import Quantized, Recipe, resolve
from handlens.report import Report, Severity
from handlens.request import AdviceRequest, RunRequest
from handlens.session import Session

COUNTS = (1, 3, 5, 8)
"""The numbers of units after which the methods are compared."""
SEVERITIES = get_args(Severity)

_REPORTS = "tests/core/reports"
_ALL = tuple(
    Workload(f"{name}-{recipe}", title, target, file, recipe)
    for name, title, target, file, recipes in (
        ("tiny-cnn", "tiny CNN", "handlens_tiny", "examples/tiny_cnn.py", ("x86", "xnnpack")),
        (
            "boxes",
            "boxes beside scores (cat)",
            "handlens_phone",
            f"{_REPORTS}/boxes_and_scores.py",
            ("xnnpack",),
        ),
        (
            "residual",
            "residual stream with a loud channel",
            "handlens_phone",
            f"{_REPORTS}/vit_residual.py",
            ("xnnpack",),
        ),
        (
            "branches",
            "quiet beside loud branch (cat)",
            "handlens_phone",
            f"{_REPORTS}/shared_observer.py",
            ("xnnpack",),
        ),
        (
            "transposed",
            "transposed convolution",
            "handlens_phone",
            f"{_REPORTS}/transposed_convolution.py",
            ("xnnpack",),
        ),
        (
            "bert",
            "BERT",
            "handlens_bert",
            "benchmarks/architectures/language.py",
            ("x86", "xnnpack"),
        ),
        (
            "transformer",
            "transformer block",
            "handlens_encoder",
            "examples/transformer_block.py",
            ("x86", "xnnpack"),
        ),
        ("vit", "ViT, trained", "handlens_vit", "benchmarks/trained.py", ("x86", "xnnpack")),
        (
            "mobilenet-v3",
            "MobileNetV3-small, trained",
            "handlens_mobilenet_v3",
            "benchmarks/trained.py",
            ("x86", "xnnpack"),
        ),
        (
            "efficientnet",
            "EfficientNet-Lite0",
            "handlens_imagenet",
            "examples/efficientnet_lite.py",
            ("x86", "xnnpack"),
        ),
    )
    for recipe in recipes
)
SUBJECTS = {workload.name: workload for workload in _ALL}


@dataclass(frozen=True)
class Method:
    """A way to choose units, and what comes of it."""

    order: tuple[str, ...]
    """The units that it puts into float, by the names of their ops."""
    outputs_db: tuple[float | None, ...]
    """The SQNR of the output with as many of them as ``COUNTS`` says, or with all; None without noise."""
    measurements: int


@dataclass(frozen=True)
class Accusations:
    """The ops that HL101 names, and whether those are the ones worth keeping in float."""

    named: int
    wins_db: tuple[float | None, ...]
    """What each wins whose op is quantized, its unit in float alone; None if no noise is left. The first is
    named first."""
    first_is_best: bool
    """True if the op that is named first is of the unit that wins most of all."""


@dataclass(frozen=True)
class Row:
    """One model under one recipe."""

    subject: str
    title: str
    recipe: str
    units: int
    before_db: float
    quantize_s: float
    compare_s: float
    real_run_s: float
    """The time of one measurement by quantizing anew and running both graphs."""
    methods: dict[str, Method]
    first_s: float | None
    """The time to the first advice with a change that wins."""
    advice_s: float
    predictions_db: tuple[tuple[float | None, float | None], ...]
    """By step of the advice: the output that it tells, and that of a real run with these changes."""
    accused: Accusations
    """Before advice."""
    accused_advised: Accusations
    """With advice, which withdraws accusations."""


class Bench:
    """A model whose units can be put into float."""

    def __init__(self, workload: Workload) -> None:
        self.subject: Subject = preparing.subject(workload)
        subject = self.subject
        self.captured: Captured = capture(
            subject.model, subject.args, subject.kwargs, subject.dynamic_shapes
        )
        generate_numeric_debug_handle(self.captured.program)
        self.recipe: Recipe = resolve(workload.recipe)
        quantized: Quantized = self.recipe.quantize(self.captured, subject)
        nodes = nodes_by_handle(quantized.reference)
        self.units = [(handle,) for handle in sorted(nodes) if handle not in quantized.in_float]
        self.names = [
            " + ".join(f"{module_of(nodes[each])}:{op_name(nodes[each])}" for each in unit)
            for unit in self.units
        ]

    def real(self, kept: tuple[str | int, ...]) -> float:
        """The SQNR of the output of a real run with ``kept`` in float."""
        return decibels(real_run(self.captured, self.subject, self.recipe, kept))

    def handles(self, kept: frozenset[int]) -> tuple[int, ...]:
        """The handles of the ops of some units."""
        return tuple(handle for each in sorted(kept) for handle in self.units[each])


def decibels(scores: Scores) -> float:
    if scores.exact:
        return math.inf
    assert scores.sqnr_db is not None
    return scores.sqnr_db


def measure(workload: Workload) -> Row:
    """Measure one subject."""
    bench = Bench(workload)
    judged = Counted(lambda kept: bench.real(bench.handles(kept)))
    start = time.perf_counter()
    before = judged(frozenset())
    real_run_s = time.perf_counter() - start

    target = workload.find()
    request = RunRequest(target, recipe=workload.recipe, workspace=(str(ROOT),))
    session = Session(request, lambda stage: None)
    report = session.export() or session.compare(request)
    assert report.error is None, report.error.message
    # The first one fills torch's tables.
    report = session.compare(request)
    first: list[float] = []
    start = time.perf_counter()

    def on_advice(advice: Advice) -> None:
        if not first and (advice.steps or advice.alone):
            first.append(time.perf_counter() - start)

    advised = session.advise(report, AdviceRequest(most=COUNTS[-1]), on_advice)
    advice_s = time.perf_counter() - start
    advice = advised.advice
    assert advice is not None
    entries = [step.change.entries for step in advice.steps]
    reals = [
        bench.real(tuple(chain.from_iterable(entries[:count])))
        for count in range(1, len(entries) + 1)
    ]
    methods = {
        "advice": Method(
            tuple(step.change.name for step in advice.steps),
            tuple(finite([before, *reals][min(count, len(reals))]) for count in COUNTS),
            advice.measurements,
        ),
        "greedy": _method(bench, judged, partial(orders.greedy, most=COUNTS[-1])),
        "ablation": _method(bench, judged, orders.ablation),
        "injection": _method(bench, judged, orders.injection),
    }
    wins = [judged(frozenset({each})) - before for each in range(len(bench.units))]
    return Row(
        workload.name,
        workload.title,
        report.recipe,
        len(bench.units),
        before,
        report.timings["quantize"],
        report.timings["compare"],
        real_run_s,
        methods,
        first[0] if first else None,
        advice_s,
        tuple(
            (finite(decibels(step.output)), finite(real)) for step, real in zip(advice.steps, reals)
        ),
        _accusations(judge(report, (), {}, target.declaration), bench, wins),
        _accusations(judge(advised, (), {}, target.declaration), bench, wins),
    )


def _method(
    bench: Bench, judged: Counted, find: Callable[[int, orders.Measure], list[int]]
) -> Method:
    counted = Counted(judged)
    order = find(len(bench.units), counted)[: COUNTS[-1]]
    outputs = [finite(judged(frozenset(order[:count]))) for count in COUNTS]
    return Method(tuple(bench.names[each] for each in order), tuple(outputs), counted.count)


def _accusations(judged: Report, bench: Bench, wins: Sequence[float]) -> Accusations:
    """Args: wins: For each unit, the dB that it wins alone."""
    accused = sorted(
        (each for each in judged.findings if each.rule == LowSqnr.code),
        key=lambda each: SEVERITIES.index(each.severity),
    )
    unit_of = {handle: unit for unit, handles in enumerate(bench.units) for handle in handles}
    units = [unit_of[each.handle] for each in accused if each.handle in unit_of]
    best = max(range(len(wins)), key=lambda each: wins[each])
    return Accusations(
        len(accused), tuple(finite(wins[each]) for each in units), units[:1] == [best]
    )


def finite(ratio: float) -> float | None:
    """The ratio for JSON, which has no infinity."""
    return ratio if math.isfinite(ratio) else None


def main(name: str) -> None:
    with os.fdopen(os.dup(1), "w") as output:
        # Libraries may print, too.
        os.dup2(2, 1)
        row = measure(SUBJECTS.get(name) or own(name))
        output.write(json.dumps(asdict(row)) + "\n")


def own(argument: str) -> Workload:
    """The subject of an argument ``FILE::TARGET@RECIPE``."""
    place, _, recipe = argument.partition("@")
    file, _, target = place.partition("::")
    return Workload(argument, Path(place).name, target, os.path.abspath(file), recipe)


if __name__ == "__main__":
    main(sys.argv[1])
