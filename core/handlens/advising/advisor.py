"""The search for advice: which ops to keep in float, one unit after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

from handlens.advice_report import Advice, Alone, Change, Scores, Step
from handlens.advising.costs import Costs
from handlens.advising.measuring import Measuring, real_run
from handlens.advising.naming import Names
from handlens.advising.ranking import Parts
from handlens.advising.search import Search, Trial, Unit
from handlens.capture.export import Captured
from handlens.comparison.objectives import Objectives
from handlens.loading.subject import Subject
from handlens.recipes import Quantized, Recipe
from handlens.recipes.switching import CannotSwitch
from handlens.request import AdviceRequest

# A change that wins less is not worth it, in dB.
WORTH_DB = 0.2


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
    return _Advisor(captured, subject, recipe, quantized, request, on_advice).run()


@dataclass
class _Advisor:
    captured: Captured
    subject: Subject
    recipe: Recipe
    quantized: Quantized
    request: AdviceRequest
    on_advice: Callable[[Advice], None]
    _start: float = field(default_factory=time.perf_counter)
    _alone: list[Alone] = field(default_factory=list)
    _steps: list[Step] = field(default_factory=list)

    def run(self) -> Advice:
        try:
            if self.quantized.switch is None:
                raise CannotSwitch("the recipe has none")
            self._switch = self.quantized.switch()
        except CannotSwitch as error:
            return Advice(Scores(None), reason=f"ops of this model cannot be switched: {error}")
        self._units: Sequence[Unit] = self._switch.units
        self._measuring = Measuring(
            self.quantized,
            self._switch,
            list(self.subject.evaluation_batches()),
            Objectives(self.captured, self.subject),
        )
        self._before = self._measuring.scores(frozenset())
        self._costs = Costs.of(self.quantized.reference)
        self._names = Names(self.captured, self.quantized.reference, self._switch)
        before = _decibels(self._before)
        if before == math.inf or not self._units:
            return self._advice(complete=True)
        if before == -math.inf:
            return Advice(self._before, reason="the outputs could not be compared")
        search = Search(self._units, self._measure, self._rank, before)
        complete = True
        for trial in search.run(self.request.most):
            self._note(trial)
            if self._is_over():
                complete = False
                break
            if trial.is_chosen and trial.decibels >= (self.request.reach_db or math.inf):
                break
        self._steps = self._worthwhile(before)
        self._verify()
        return self._advice(complete)

    def _measure(self, kept: Set[int]) -> float:
        try:
            return _decibels(self._measuring.scores(kept))
        except CannotSwitch:
            # It is no candidate: what cannot be predicted is not advised.
            return -math.inf

    def _rank(self, kept: Set[int]) -> Sequence[Unit]:
        self._measuring.hold(kept)
        parts = self._measuring.parts()
        return sorted(
            self._units,
            key=lambda unit: (
                -self._part(parts, unit, kept),
                min(unit),
                len(unit),
            ),
        )

    def _part(self, parts: Sequence[Parts], unit: Unit, kept: Set[int]) -> float:
        edges = self._switch.rounded_edges(unit | kept) - self._switch.rounded_edges(kept)
        return sum(each.of(unit - kept, edges) for each in parts)

    def _note(self, trial: Trial) -> None:
        if not math.isfinite(trial.decibels) and trial.decibels < 0:
            return
        kept = frozenset().union(*trial.chosen, trial.unit)
        output = self._measuring.scores(kept)
        if trial.is_chosen:
            change = self._change(trial.unit, kept - trial.unit)
            self._steps.append(Step(change, output, self._costs.share(kept)))
            self.on_advice(self._advice(complete=False))
        elif not trial.chosen:
            change = self._change(trial.unit, frozenset())
            self._alone.append(Alone(change, output, self._costs.share(kept)))
            if _decibels(output) == max(_decibels(each.output) for each in self._alone):
                self.on_advice(self._advice(complete=False))

    def _change(self, unit: Unit, kept: Set[int]) -> Change:
        return self._names.change(unit - kept)

    def _worthwhile(self, before: float) -> list[Step]:
        """The steps up to the last one that wins enough, with those before it that led nowhere else."""
        best, count = before, 0
        for number, step in enumerate(self._steps, 1):
            if _decibels(step.output) >= best + WORTH_DB:
                best, count = _decibels(step.output), number
        return self._steps[:count]

    def _verify(self) -> None:
        """Run the recipe with all steps, and with the first: what is shown is what it gives."""
        for index in sorted({0, len(self._steps) - 1}):
            if self._steps and not self._is_over():
                step = self._steps[index]
                entries = [each for one in self._steps[: index + 1] for each in one.change.entries]
                output = real_run(self.captured, self.subject, self.recipe, tuple(entries))
                self._steps[index] = Step(step.change, output, step.cost, verified=True)

    def _is_over(self) -> bool:
        budget = self.request.budget_s
        return budget is not None and time.perf_counter() - self._start > budget

    def _advice(self, complete: bool) -> Advice:
        ranked = sorted(self._alone, key=lambda each: -_decibels(each.output))
        return Advice(
            self._before,
            "sqnr",
            tuple(self._steps),
            tuple(ranked),
            (),
            len(self._units),
            self._measuring.count,
            round(time.perf_counter() - self._start, 3),
            self.request.reach_db,
            complete,
        )


def _decibels(scores: Scores) -> float:
    if scores.exact:
        return math.inf
    return -math.inf if scores.sqnr_db is None else scores.sqnr_db
