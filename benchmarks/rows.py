"""The measurements. Each row is made by one function, in a process of its own."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torchao.quantization.pt2e import allow_exported_model_train_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

from benchmarks.contenders import COMPARE, PLAIN, merged
from benchmarks.measuring import Effort, peak, peak_above, ratio, rounds, seconds
from benchmarks.preparing import prepare, quantize, subject
from benchmarks.workloads import ROOT, Workload
from handlens.capture.export import capture
from handlens.capture.handles import generate_numeric_debug_handle
from handlens.recipes import UnknownRecipe, resolve
from handlens.request import RunRequest
from handlens.session import run
from handlens.workers.client import Worker

Figures = dict[str, Any]

BATCHES = {"accumulated": (1, 4, 16), "introduced": (1, 4, 16), "torchao": (1, 4)}
"""Numbers of batches to measure peak memory with. torchao would need over 15 GB for sixteen."""


@dataclass(frozen=True)
class Row:
    """The figures of one measurement of a workload, or the error that it ended with."""

    workload: str
    measure: str
    contender: str = ""
    figures: Figures = field(default_factory=dict)
    """The figures by name: times in seconds, memory in bytes."""
    error: str | None = None


@dataclass(frozen=True)
class Task:
    """A measurement to be made: ``measure`` is called in a process of its own."""

    row: Row
    measure: Callable[[Effort], Figures]


def tasks(workload: Workload, measures: Collection[str] = ()) -> Iterator[Task]:
    """The measurements to be made of a workload: all that apply to it, or those that are asked for."""
    for name in workload.measures:
        if measures and name not in measures:
            continue
        for contender, function in _MEASURES[name](workload):
            yield Task(Row(workload.name, name, contender), function)


def make(task: Task, effort: Effort) -> Row:
    """Measure in this process."""
    row = task.row
    try:
        figures = task.measure(effort)
    except UnknownRecipe as error:
        return Row(row.workload, row.measure, row.contender, error=f"n/a: {error}")
    except Exception as error:
        first = str(error).partition("\n")[0]
        cause = f" (from: {error.__cause__})" if error.__cause__ is not None else ""
        # The addresses in an error message differ from process to process.
        reason = re.sub(r"\d{9,}", "…", f"{type(error).__name__}: {first}{cause}")
        return Row(row.workload, row.measure, row.contender, error=reason)
    return Row(row.workload, row.measure, row.contender, figures)


# -- one contender alone: its time and its memory --------------------------------------------------


def _alone(workload: Workload, contender: str, effort: Effort) -> Figures:
    function = PLAIN[contender] if contender in PLAIN else COMPARE[contender]
    step: Callable[[], object] = partial(function, prepare(workload))
    compared = step()
    return {
        "compared": len(compared) if isinstance(compared, list) else None,
        "peak": peak_above(step),
        "times": rounds({contender: step}, effort)[contender],
    }


# -- all contenders together, in turn: ratios of times ---------------------------------------------


def _together(workload: Workload, effort: Effort) -> Figures:
    prepared = prepare(workload)
    running: dict[str, Callable[[], object]] = {
        name: partial(function, prepared) for name, function in PLAIN.items()
    }
    merging: dict[str, float] = {}
    for name, introduced in (("accumulated", False), ("introduced", True)):
        comparison = merged(prepared, introduced)
        merging[name] = seconds(partial(merged, prepared, introduced))
        running[name] = partial(comparison.run, prepared.args, prepared.kwargs)
    run = rounds(running, effort)
    plain = [sum(each) for each in zip(run["float"], run["quantized"])]
    nodes = len(prepared.program.graph.nodes)

    comparing: dict[str, Callable[[], object]] = {
        name: partial(COMPARE[name], prepared) for name in merging
    }
    error = None
    try:
        COMPARE["torchao"](prepared)
        comparing["torchao"] = partial(COMPARE["torchao"], prepared)
    except Exception as raised:
        error = type(raised).__name__
    compare = rounds(comparing, effort)
    return {
        "nodes": nodes,
        "merge": merging,
        "overhead_per_node": {
            name: (merging[name] + median(run[name]) - median(plain)) / nodes for name in merging
        },
        "run": run,
        "compare": compare,
        "torchao_error": error,
        "run_by_plain": {name: ratio(run[name], plain) for name in merging},
        "run_by_float": {name: ratio(run[name], run["float"]) for name in merging},
        "compare_by_torchao": {
            name: ratio(compare[name], compare["torchao"])
            for name in merging
            if "torchao" in compare
        },
    }


# -- the stages of a run in a worker ---------------------------------------------------------------


def _stages(workload: Workload, effort: Effort) -> Figures:
    resolve(workload.recipe)  # An unknown recipe is an error of the benchmark, not of a run.
    return asyncio.run(_run_in_worker(workload, effort))


async def _run_in_worker(workload: Workload, effort: Effort) -> Figures:
    """Run in a worker that has to start first (cold), and in one that is running already (warm)."""
    request = RunRequest(workload.find(), recipe=workload.recipe, workspace=(str(ROOT),))
    cold: list[dict[str, float]] = []
    warm: list[dict[str, float]] = []
    for _ in range(effort.least):
        start = time.perf_counter()
        worker, _ = await Worker.start(sys.executable, lambda line: None)
        started = time.perf_counter() - start
        try:
            stages = await _stages_of_run(worker, request)
            cold.append({"start": started, **stages, "total": started + stages["total"]})
            warm.append(await _stages_of_run(worker, request))
        finally:
            await worker.close()
    return {"cold": _median_run(cold), "warm": _median_run(warm)}


async def _stages_of_run(worker: Worker, request: RunRequest) -> dict[str, float]:
    start = time.perf_counter()
    report = await worker.run(request, lambda stage: None)
    total = time.perf_counter() - start
    if report.error is not None:
        raise RuntimeError(f"{report.error.rule} {report.error.message}")
    return {**report.timings, "total": total}


def _median_run(runs: list[dict[str, float]]) -> dict[str, float]:
    return sorted(runs, key=lambda run: run["total"])[len(runs) // 2]


# -- the quantize stage beside torchao's own three calls -------------------------------------------


def _quantize(workload: Workload, effort: Effort) -> Figures:
    given = subject(workload)
    start = time.perf_counter()
    captured = capture(given.model, given.args, given.kwargs, given.dynamic_shapes)
    generate_numeric_debug_handle(captured.program)
    export = time.perf_counter() - start

    def quantize_anew() -> None:
        # The batches of an earlier run are not run again.
        quantize(workload, captured, replace(given, calibration=list(given.calibration)))

    ours = rounds({"ours": quantize_anew}, effort)["ours"]
    # Strict, because the quantizer finds next to nothing to annotate in a non-strict export.
    program = torch.export.export(given.model, given.args, given.kwargs, strict=True)
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())

    def plain() -> None:
        prepared = prepare_pt2e(program.module(), quantizer)
        allow_exported_model_train_eval(prepared)
        with torch.no_grad():
            for args, kwargs in given.calibration_inputs():
                prepared(*args, **kwargs)
            convert_pt2e(prepared)

    # Only once, because it takes up to half a minute. The runs before have warmed up the same calls.
    return {"export": export, "handlens": ours, "torchao": [seconds(plain)]}


# -- memory over the number of batches -------------------------------------------------------------


def _batches(workload: Workload, contender: str, batches: int, effort: Effort) -> Figures:
    step = partial(COMPARE[contender], prepare(workload))
    step()
    return {"batches": batches, "peak": peak_above(partial(step, batches=batches))}


# -- the memory of a whole run ---------------------------------------------------------------------


def _whole(workload: Workload, effort: Effort) -> Figures:
    """The peak of the process that a run takes, torch included, and the size of the float model."""
    resolve(workload.recipe)
    request = RunRequest(workload.find(), recipe=workload.recipe, workspace=(str(ROOT),))
    report = run(request, lambda stage: None)
    if report.error is not None:
        raise RuntimeError(f"{report.error.rule} {report.error.message}")
    highest = peak()
    model = subject(workload).model
    return {"peak": highest, "model": sum(each.nbytes for each in model.parameters())}


_Made = Iterator[tuple[str, Callable[[Effort], Figures]]]


def _made_alone(workload: Workload) -> _Made:
    for contender in (*PLAIN, *COMPARE):
        yield contender, partial(_alone, workload, contender)


def _made_over_batches(workload: Workload) -> _Made:
    for contender, numbers in BATCHES.items():
        for number in numbers:
            yield contender, partial(_batches, workload, contender, number)


_MEASURES: dict[str, Callable[[Workload], _Made]] = {
    "alone": _made_alone,
    "together": lambda workload: iter([("", partial(_together, workload))]),
    "overhead": lambda workload: iter([("", partial(_together, workload))]),
    "stages": lambda workload: iter([("", partial(_stages, workload))]),
    "quantize": lambda workload: iter([("", partial(_quantize, workload))]),
    "batches": _made_over_batches,
    "whole": lambda workload: iter([("", partial(_whole, workload))]),
}
