"""The search for advice: which units to keep in float, one after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from handlens.advice_report import Advice, Alone, Change, Cost, Scores, Step
from handlens.advising.real_runs import real_run
from handlens.capture.export import Captured
from handlens.capture.handles import nodes_by_handle
from handlens.capture.nodes import module_of, op_name
from handlens.loading.subject import Subject
from handlens.recipes import Quantized, Recipe
from handlens.request import AdviceRequest


def advise(
    captured: Captured,
    subject: Subject,
    recipe: Recipe,
    quantized: Quantized,
    request: AdviceRequest,
    on_advice: Callable[[Advice], None],
) -> Advice:
    """Search until the wish is reached, the budget is spent, or nothing wins any more.

    ``on_advice`` gets the advice so far whenever a change was measured that wins.
    """
    start = time.perf_counter()
    nodes = nodes_by_handle(quantized.reference)
    units = [handle for handle in sorted(nodes) if handle not in quantized.in_float]
    before = real_run(captured, subject, recipe, ())
    alone: list[Alone] = []
    steps: list[Step] = []
    kept: tuple[int, ...] = ()
    measurements = 1

    def found(complete: bool) -> Advice:
        ranked = sorted(alone, key=lambda each: -_decibels(each.output))
        return Advice(
            before,
            "sqnr",
            tuple(steps),
            tuple(ranked),
            (),
            len(units),
            measurements,
            time.perf_counter() - start,
            request.reach_db,
            complete,
        )

    now = before
    while len(steps) < request.most:
        best: Step | None = None
        for handle in units:
            if handle in kept:
                continue
            spent = time.perf_counter() - start
            if request.budget_s is not None and spent > request.budget_s:
                return found(False)
            output = real_run(captured, subject, recipe, (*kept, handle))
            measurements += 1
            node = nodes[handle]
            change = Change("keep-float", (handle,), (handle,), module_of(node) or op_name(node))
            if not steps:
                alone.append(Alone(change, output, Cost(0.0, 0.0)))
                on_advice(found(False))
            if best is None or _decibels(output) > _decibels(best.output):
                best = Step(change, output, Cost(0.0, 0.0), True)
        if best is None or _decibels(best.output) <= _decibels(now):
            break
        steps.append(best)
        kept, now = (*kept, *best.change.handles), best.output
        on_advice(found(False))
        if request.reach_db is not None and _decibels(now) >= request.reach_db:
            break
    return found(True)


def _decibels(scores: Scores) -> float:
    if scores.exact:
        return math.inf
    return -math.inf if scores.sqnr_db is None else scores.sqnr_db
