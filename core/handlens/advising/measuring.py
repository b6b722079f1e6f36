"""Measures what a quantized model gives with more ops in float: by a switch, or by the recipe itself."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Node

from handlens.advice_report import Scores
from handlens.advising.evaluating import Evaluator, can_be_reused, outputs
from handlens.advising.ranking import Parts, parts
from handlens.capture.export import Captured
from handlens.comparison import Statistics
from handlens.comparison.random_state import RandomState
from handlens.comparison.recorder import pool
from handlens.loading.inputs import Inputs
from handlens.loading.subject import Subject
from handlens.recipes import Quantized, Recipe
from handlens.recipes.switching import Switch


class Measuring:
    """The accuracy of the outputs on all evaluation batches, for sets of ops that are switched to float."""

    def __init__(
        self, quantized: Quantized, switch: Switch, batches: Sequence[Inputs], start: RandomState
    ) -> None:
        self._quantized, self._switch = quantized, switch
        reuses = can_be_reused(quantized.actual)
        self._evaluators = [Evaluator(inputs, start, reuses) for inputs in batches]
        self._batches = batches
        self._reuses = reuses
        self._references = [outputs(quantized.reference, inputs, start) for inputs in batches]
        self._scores: dict[frozenset[int], Scores] = {}
        self._held: list[dict[Node, Any]] = []
        self._graph: GraphModule = quantized.actual

    @property
    def count(self) -> int:
        """How many sets were measured."""
        return len(self._scores)

    def scores(self, kept: Set[int]) -> Scores:
        """The accuracy with the ops ``kept`` in float. Raises CannotSwitch."""
        key = frozenset(kept)
        if key not in self._scores:
            model = self._switch.graph(key)
            total = Statistics()
            for evaluator, reference in zip(self._evaluators, self._references):
                pool(total, reference, evaluator.outputs(model))
            self._scores[key] = Scores(total.sqnr_db, total.verdict == "exact")
        return self._scores[key]

    def hold(self, kept: Set[int]) -> None:
        """Hold the results of the ops with ``kept`` in float: other sets are measured from there."""
        self._graph = self._switch.graph(kept)
        if self._reuses:
            self._held = [each.hold(self._graph) for each in self._evaluators]

    def parts(self, kept: Set[int]) -> Parts:
        """The parts of all ops in the error of the outputs, with the graph that is held."""
        found = Parts()
        for index, results in enumerate(self._held):
            actual = self._evaluators[index].outputs(self._graph)
            errors = [_error(r, a) for r, a in zip(self._references[index], actual)]
            found.add(
                parts(
                    self._quantized.reference,
                    self._graph,
                    results,
                    self._evaluators[index].leaves,
                    errors,
                )
            )
        return found


def _error(reference: Any, actual: Any) -> Tensor | None:
    if not isinstance(reference, Tensor) or not reference.is_floating_point():
        return None
    error = actual.to(reference.dtype) - reference
    return error if bool(error.any()) and bool(error.isfinite().all()) else None


def real_run(
    captured: Captured, subject: Subject, recipe: Recipe, kept: tuple[str | int, ...]
) -> Scores:
    """The accuracy of the outputs with ``kept`` in float, beside what the target itself keeps."""
    start = RandomState()
    wanted = replace(subject, keep_float=(*subject.keep_float, *kept))
    quantized = recipe.quantize(captured, wanted)
    total = Statistics()
    for inputs in subject.evaluation_inputs():
        reference = outputs(quantized.reference, inputs, start)
        pool(total, reference, outputs(quantized.actual, inputs, start))
    return Scores(total.sqnr_db, total.verdict == "exact")
