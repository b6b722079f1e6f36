"""The search for advice: which ops to keep in float, or to quantize otherwise, one unit after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from handlens.advice_report import Advice, Alone, Change, ChangeKind, Cost, Scores, Step
from handlens.advised import WORTH_DB
from handlens.advising.costs import Costs
from handlens.advising.measuring import HOLD, Measuring, real_run
from handlens.advising.ranking import Part, Parts
from handlens.advising.search import MANY, WORST, Search, Trial, Unit, Value
from handlens.capture.export import Captured
from handlens.comparison.objectives import Objectives
from handlens.distributed.ranks import END, Ranks
from handlens.distributed.shared_work import SharedWork
from handlens.loading.subject import Subject
from handlens.recipes import Quantized, Recipe
from handlens.recipes.adjusting import alternatives
from handlens.recipes.entries import Entries
from handlens.recipes.switching import CannotSwitch
from handlens.request import AdviceRequest

# How many units come first by the direction of their error, and how many next by its size alone.
_ALONG, _SPREAD = 4, 2
# Alternatives are tried for so many of the units that are kept in float, the best first. For a model with
# many units they are not: a run of the recipe for each would take longer than the rest of the search.
_UNITS_TO_ADJUST = 2


def advise(
    captured: Captured,
    subject: Subject,
    recipe: Recipe,
    quantized: Quantized,
    accused: Set[int],
    request: AdviceRequest,
    on_advice: Callable[[Advice], None],
    ranks: Ranks | None = None,
) -> Advice:
    """Search until the wish is reached, the budget is spent, or enough changes are found.

    Args:
        accused: The ops that are said to lose accuracy. What each wins by itself is measured, too.
        on_advice: Gets the advice so far whenever something was found.
        ranks: The processes that share the measurements. Rank 0 searches, and the others have no advice.
    """
    try:
        if quantized.switch is None:
            raise CannotSwitch("the recipe has no switch")
        advisor = _Advisor(captured, subject, recipe, quantized, accused, request, on_advice, ranks)
        if ranks is None or ranks.is_first:
            return advisor.run()
        advisor.help(ranks)
        return Advice(Scores(None), reason="rank 0 has it")
    except CannotSwitch as error:
        return Advice(Scores(None), reason=f"ops of this model cannot be switched: {error}")
    finally:
        if ranks is not None and ranks.is_first:
            ranks.broadcast(END)


_Run = tuple[tuple["str | int", ...], tuple[tuple["str | int", ChangeKind], ...]]
"""The changes of a run of the recipe: entries to keep in float, and others to adjust."""


class _Over(Exception):
    """The budget is spent."""


@dataclass
class _Advisor:
    captured: Captured
    subject: Subject
    recipe: Recipe
    quantized: Quantized
    accused: Set[int]
    request: AdviceRequest
    on_advice: Callable[[Advice], None]
    ranks: Ranks | None

    def __post_init__(self) -> None:
        assert self.quantized.switch is not None
        self._start = time.perf_counter()
        self._switch = self.quantized.switch()
        self._units: Sequence[Unit] = self._switch.units
        self._switchable = frozenset().union(*self._units)
        self._entries = Entries(self.captured)
        self._costs = Costs.of(self.quantized.reference)
        self._measuring = Measuring(
            self.quantized,
            self._switch,
            list(self.subject.evaluation_batches()),
            Objectives(self.captured, self.subject),
            self.ranks,
        )
        self._runs: SharedWork[_Run, Scores] = SharedWork(
            "runs", lambda run: real_run(self.captured, self.subject, self.recipe, *run), self.ranks
        )
        self._advice = Advice(
            self._measuring.scores(frozenset()),
            "sqnr" if self.subject.metric is None else "metric",
            units=len(self._units),
            reach_db=self.request.reach_db,
            complete=False,
        )

    def run(self) -> Advice:
        """The advice. It ends early where there is nothing to win, or nothing to measure."""
        before = _value(self._advice.before)
        if before == WORST:
            return replace(self._advice, complete=True, reason="the outputs cannot be compared")
        if before.decibels == math.inf or not self._units:
            return self._noted(complete=True)
        try:
            self._search(before)
            self._check_accused()
            self._run_recipe()
        except _Over:
            return self._noted(steps=self._worthwhile(), complete=False)
        return self._noted(complete=True)

    def help(self, ranks: Ranks) -> None:
        """Measure what rank 0 asks for, until its search ends. Raises RankFailed."""
        while (message := ranks.receive(0)) != END:
            name, block, tasks = message
            if name == HOLD:
                self._measuring.hold(tasks)
                continue
            work: SharedWork[Any, Scores] = self._runs if name == "runs" else self._measuring.work
            ranks.send(work.measure_some(ranks, block, tasks), 0)

    # -- by switches -------------------------------------------------------------------------------

    def _search(self, before: Value) -> None:
        reach = self.request.reach_db
        search = Search(
            self._units, self._measure, self._rank, before, self._measuring.work.announce
        )
        for trial in search.run(self.request.most):
            self._note(trial)
            self._spend()
            if trial.is_chosen and reach is not None and trial.value.decibels >= reach:
                break
        self._noted(steps=self._worthwhile())

    def _measure(self, kept: Set[int]) -> Value:
        try:
            return _value(self._measuring.scores(kept))
        except CannotSwitch:
            # What cannot be predicted is not advised.
            return WORST

    def _rank(self, kept: Set[int]) -> Sequence[Unit] | None:
        """All units by the direction of their errors; early among them those of the largest errors."""
        self._measuring.hold(kept)
        parts = self._measuring.parts()
        if not parts:
            return None
        of_unit = {unit: self._part(parts, unit, kept) for unit in self._units}
        units = sorted(self._units, key=lambda unit: (min(unit), len(unit)))
        along = sorted(units, key=lambda unit: -of_unit[unit].along)
        spread = sorted(units, key=lambda unit: -of_unit[unit].spread)
        return list(dict.fromkeys((*along[:_ALONG], *spread[:_SPREAD], *along)))

    def _part(self, parts: Sequence[Parts], unit: Unit, kept: Set[int]) -> Part:
        edges = self._switch.rounded_edges(unit | kept) - self._switch.rounded_edges(kept)
        return sum((each.of(unit - kept, edges) for each in parts), Part())

    def _note(self, trial: Trial) -> None:
        if trial.value == WORST:
            return
        kept = frozenset().union(*trial.chosen, trial.unit)
        if trial.is_chosen:
            change = self._change(trial.unit - frozenset().union(*trial.chosen), kept)
            step = Step(change, self._measuring.scores(kept), self._costs.share(kept))
            self._noted(steps=(*self._advice.steps, step))
        elif not trial.chosen:
            self._note_alone(trial.unit)

    def _note_alone(self, unit: Unit) -> None:
        alone = Alone(
            self._change(unit, unit), self._measuring.scores(unit), self._costs.share(unit)
        )
        self._noted(alone=_ranked((*self._advice.alone, alone)))

    def _change(self, handles: Set[int], kept: Set[int]) -> Change:
        entries = self._entries.naming(handles, self._switchable - kept)
        words = self._entries.words(entries)
        return Change("keep-float", entries, tuple(sorted(handles)), words)

    def _check_accused(self) -> None:
        """Measure what each op wins by itself that is said to lose accuracy."""
        known = {each.change.handles for each in self._advice.alone}
        unknown = [
            unit for unit in self._units if unit & self.accused and tuple(sorted(unit)) not in known
        ]
        self._measuring.work.announce(unknown)
        for unit in unknown:
            if self._measure(unit) != WORST:
                self._note_alone(unit)
            self._spend()

    def _worthwhile(self) -> tuple[Step, ...]:
        """The steps up to the last one that wins enough; those before it may only make room for it."""
        best, count = _value(self._advice.before), 0
        for number, step in enumerate(self._advice.steps, 1):
            value = _value(step.output)
            if value.metric > best.metric or value.decibels >= best.decibels + WORTH_DB:
                best, count = value, number
        return self._advice.steps[:count]

    # -- by runs of the recipe ---------------------------------------------------------------------

    def _run_recipe(self) -> None:
        """Run the recipe with what is recommended, and with alternatives for the best units."""
        count, steps = self._advice.recommended, list(self._advice.steps)
        few = len(self._units) < MANY
        others = [
            (step.change, kind)
            for step in (steps[:_UNITS_TO_ADJUST] if few else ())
            for kind in alternatives(self.quantized, step.change.handles)
        ]
        recommended: _Run = tuple(e for step in steps[:count] for e in step.change.entries), ()
        runs = [self._adjusting(*each) for each in others]
        self._runs.announce([recommended, *runs] if count else runs)
        if count:
            output = self._runs.result(recommended)
            steps[count - 1] = replace(steps[count - 1], output=output, verified=True)
            self._noted(steps=tuple(steps))
        for change, kind in others:
            self._spend()
            self._note_alternative(change, kind)

    def _adjusting(self, kept: Change, kind: ChangeKind) -> _Run:
        """The run with the ops of a change quantized otherwise instead of kept in float."""
        return (), tuple(
            (entry, kind)
            for entry in kept.entries
            if kind in alternatives(self.quantized, self._entries.handles((entry,)))
        )

    def _note_alternative(self, kept: Change, kind: ChangeKind) -> None:
        run = self._adjusting(kept, kind)
        output = self._runs.result(run)
        entries = tuple(entry for entry, _ in run[1])
        change = replace(kept, kind=kind, entries=entries, name=self._entries.words(entries))
        if _value(output) >= Value(_value(self._advice.before).metric, self._worth):
            alone = Alone(change, output, self._cost(kind, kept.handles))
            self._noted(alternatives=_ranked((*self._advice.alternatives, alone)))

    def _cost(self, kind: ChangeKind, handles: Iterable[int]) -> Cost:
        """What leaves the number format of the recipe: neither weights nor values if only scales change."""
        share = self._costs.share(handles)
        if kind == "weight-8-bit":
            return share
        return Cost(share.multiply_adds if kind == "activation-16-bit" else 0.0, 0.0)

    @property
    def _worth(self) -> float:
        return _value(self._advice.before).decibels + WORTH_DB

    # -- the advice so far -------------------------------------------------------------------------

    def _noted(self, **found: object) -> Advice:
        """Note what was found, and tell it."""
        self._advice = replace(
            self._advice,
            measurements=self._measuring.count,
            seconds=round(time.perf_counter() - self._start, 3),
            **found,  # type: ignore[arg-type]
        )
        self.on_advice(self._advice)
        return self._advice

    def _spend(self) -> None:
        """Raise _Over if the budget is spent."""
        budget = self.request.budget_s
        if budget is not None and time.perf_counter() - self._start > budget:
            raise _Over


def _ranked(changes: Iterable[Alone]) -> tuple[Alone, ...]:
    def key(each: Alone) -> tuple[float, float, int]:
        value = _value(each.output)
        return -value.metric, -value.decibels, len(each.change.handles)

    return tuple(sorted(changes, key=key))


def _value(scores: Scores) -> Value:
    metric = 0.0 if scores.metric is None else scores.metric
    if scores.exact:
        return Value(metric, math.inf)
    return WORST if scores.sqnr_db is None else Value(metric, scores.sqnr_db)
