"""Measures what a quantized model gives with more ops in float: by a switch, or by the recipe itself."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Node

from handlens.advice_report import ChangeKind, Scores
from handlens.advising.evaluating import Evaluator, Numbering, can_be_reused, outputs
from handlens.advising.ranking import Parts, parts
from handlens.capture.export import Captured
from handlens.comparison.compared import Outputs
from handlens.comparison.objectives import Objectives, OutputScores
from handlens.comparison.random_state import RandomState
from handlens.distributed.ranks import Ranks
from handlens.distributed.shared_work import SharedWork
from handlens.loading.subject import Batch, Subject
from handlens.recipes import Quantized, Recipe
from handlens.recipes.switching import Switch

HOLD = "hold"
"""The message to other ranks to hold the results of a graph."""


class Measuring:
    """The accuracy of the outputs on all evaluation batches, for sets of ops that are switched to float."""

    def __init__(
        self,
        quantized: Quantized,
        switch: Switch,
        batches: Sequence[Batch],
        objectives: Objectives,
        ranks: Ranks | None = None,
    ) -> None:
        """``ranks`` are the processes that share the measurements."""
        start = RandomState()
        self._ranks = ranks
        self.work: SharedWork[frozenset[int], Scores] = SharedWork(
            "switches", self._measured, ranks
        )
        self._quantized, self._switch = quantized, switch
        self._evaluators = [Evaluator(each.inputs, start) for each in batches]
        self._batches, self._objectives = batches, objectives
        self._numbering = Numbering()
        self._references = [outputs(quantized.reference, each.inputs, start) for each in batches]
        self._scores: dict[frozenset[int], Scores] = {}
        self._graph: GraphModule = quantized.actual
        self._numbers: dict[Node, int] = {}
        self._outputs: list[list[Any]] = []
        """By batch, the leaves of the outputs of the graph that is held; empty if none is."""

    @property
    def count(self) -> int:
        """How many sets were measured."""
        return len(self._scores)

    def scores(self, kept: Set[int]) -> Scores:
        """The accuracy with the ops ``kept`` in float. Raises CannotSwitch."""
        key = frozenset(kept)
        if key not in self._scores:
            self._scores[key] = self.work.result(key)
        return self._scores[key]

    def _measured(self, kept: frozenset[int]) -> Scores:
        model = self._switch.graph(kept)
        numbers = self._numbering.of(model) if can_be_reused(model) else None
        total = OutputScores(self._objectives)
        for evaluator, reference, batch in zip(self._evaluators, self._references, self._batches):
            total.add(Outputs(reference, evaluator.outputs(model, numbers)), batch)
        return total.result

    def hold(self, kept: Set[int]) -> None:
        """Hold the results of the ops with ``kept`` in float: other sets are measured from there.

        Nothing is held of a graph whose results cannot be reused.
        """
        if self._ranks is not None and self._ranks.is_first:
            self._ranks.broadcast((HOLD, 0, kept))
        self._graph = self._switch.graph(kept)
        self._outputs = []
        if can_be_reused(self._graph) and can_be_reused(self._quantized.reference):
            self._numbers = self._numbering.of(self._graph)
            self._outputs = [each.hold(self._graph, self._numbers) for each in self._evaluators]

    def parts(self) -> list[Parts]:
        """By batch, the parts of all ops in the error of the outputs; empty if no graph is held."""
        return [
            parts(
                self._quantized.reference,
                self._graph,
                evaluator.values(self._graph, self._numbers),
                evaluator.leaves,
                [_error(r, a) for r, a in zip(reference, leaves)],
            )
            for evaluator, reference, leaves in zip(
                self._evaluators, self._references, self._outputs
            )
        ]


def _error(reference: Any, actual: Any) -> Tensor | None:
    if not isinstance(reference, Tensor) or not reference.is_floating_point():
        return None
    error = actual.to(reference.dtype) - reference
    return error if bool(error.any()) and bool(error.isfinite().all()) else None


def real_run(
    captured: Captured,
    subject: Subject,
    recipe: Recipe,
    keep_float: Sequence[str | int] = (),
    adjust: Sequence[tuple[str | int, ChangeKind]] = (),
) -> Scores:
    """The accuracy of the outputs that the recipe gives with changes beside those of the target itself."""
    start = RandomState()
    wanted = replace(
        subject,
        keep_float=(*subject.keep_float, *keep_float),
        adjust=(*subject.adjust, *adjust),
    )
    quantized = recipe.quantize(captured, wanted)
    total = OutputScores(Objectives(captured, subject))
    for batch in subject.evaluation_batches():
        reference = outputs(quantized.reference, batch.inputs, start)
        total.add(Outputs(reference, outputs(quantized.actual, batch.inputs, start)), batch)
    return total.result
