"""Advice as tables and sentences, which the text and the page share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from handlens import words
from handlens.advice_report import Advice, Alone, Cost, Scores
from handlens.report import Report
from handlens.target_edits import Additions

COST = "the share of multiply-adds and weight bytes that leaves the recipe's number format"
# How many changes that were measured alone are worth a line.
_MOST = 5


@dataclass(frozen=True)
class Row:
    """A change, and what was measured with it."""

    cells: tuple[str, ...]
    number: int = 0
    """The number of a step; 0 for what is no step."""
    is_recommended: bool = True
    is_verified: bool = False


@dataclass(frozen=True)
class Table:
    """Changes in rows. The first column has words, the others have numbers."""

    header: tuple[str, ...]
    rows: tuple[Row, ...]


class Tables:
    """The tables of a report's advice."""

    def __init__(self, report: Report, advice: Advice) -> None:
        self._advice = advice
        named = report.output.metric if report.output else None
        self._metric = named.name if named else "metric"

    @property
    def steps(self) -> Table:
        """The model without any change, then with one change after the other."""
        advice = self._advice
        outputs = [advice.before, *(step.output for step in advice.steps)]
        header = self._header("change", outputs)
        rows = [Row(_cells(header, "no change", advice.before, "", None))]
        for number, step in enumerate(advice.steps, 1):
            won = _gain(advice, outputs[number - 1], step.output)
            cells = _cells(header, words.to_do(step.change), step.output, won, step.cost)
            rows.append(Row(cells, number, number <= advice.recommended, step.verified))
        return Table(header, tuple(rows))

    @property
    def alone(self) -> Table:
        """The changes that give the most by themselves."""
        return self._measured("alone", self._advice.alone[:_MOST])

    @property
    def alternatives(self) -> Table:
        """What can be done instead of keeping ops in float, and, last, what keeping them in float gives."""
        kept = {each.change.handles: words.scores(each.output) for each in self._advice.alone}
        shown = self._advice.alternatives[:_MOST]
        table = self._measured("instead of float", shown)
        rows = [
            replace(row, cells=(*row.cells, kept.get(each.change.handles, "")))
            for row, each in zip(table.rows, shown)
        ]
        return Table((*table.header, "in float"), tuple(rows))

    def _measured(self, name: str, measured: Sequence[Alone]) -> Table:
        header = self._header(name, [each.output for each in measured])
        rows = []
        for each in measured:
            won = _gain(self._advice, self._advice.before, each.output)
            rows.append(Row(_cells(header, words.to_do(each.change), each.output, won, each.cost)))
        return Table(header, tuple(rows))

    def _header(self, first: str, outputs: Sequence[Scores]) -> tuple[str, ...]:
        optional = {
            "top-1": any(each.logits for each in outputs),
            self._metric: any(each.metric is not None for each in outputs),
        }
        measured = (name for name, is_there in optional.items() if is_there)
        return (first, "output", "wins", *measured, "MACs", "weights")


def verdict(advice: Advice) -> Iterator[str]:
    """Sentences on what comes of the search: whether it reaches the wish, and what it leaves open."""
    if advice.reason:
        yield f"No advice: {advice.reason}"
        return
    if advice.reach_db is not None:
        yield _wish(advice, f"{advice.reach_db:g} dB")
    if not advice.steps and advice.complete and (advice.reach_db is None or advice.falls_short):
        yield _nothing(advice)
    if not advice.complete:
        yield "The search was ended before it was complete: another change may win more."


def so_far(advice: Advice) -> str:
    """The best that is known while the search goes on: ``9.2 dB → 39.5 dB with 1 change``."""
    made = [(step.output, number) for number, step in enumerate(advice.steps, 1)]
    made = made or [(each.output, 1) for each in advice.alone[:1]]
    if not made:
        return ""
    output, number = made[-1]
    before, after = words.scores(advice.before), words.scores(output)
    return f"{before} → {after} with {words.count(number, 'change')}"


def effort(advice: Advice) -> str:
    """What the search took: ``75 measurements in 3.2 s, of 9 units``."""
    made = words.count(advice.measurements, "measurement")
    return f"{made} in {advice.seconds:.1f} s, of {words.count(advice.units, 'unit')}"


def verification(advice: Advice) -> str:
    """How many steps a real run has confirmed."""
    verified = sum(step.verified for step in advice.steps)
    of = f"{verified} of {len(advice.steps)}"
    if verified in (0, len(advice.steps)):
        of = "all" if verified else "none of the"
    return f"{of} outputs by a run of the recipe with these changes"


def to_paste(advice: Advice) -> list[str]:
    """The lines to write into the target for all that is recommended."""
    literals = Additions.of(advice.changes).literals
    return [f'"{key}": {literal},' for key, literal in literals.items()]


def _cells(
    header: Sequence[str], first: str, output: Scores, won: str, cost: Cost | None
) -> tuple[str, ...]:
    """What the columns of a table say of an output."""
    cells = {
        header[0]: first,
        "output": words.scores(output),
        "wins": won,
        "top-1": words.top1(output.logits) if output.logits else "",
        "MACs": words.percent(cost.multiply_adds) if cost else "",
        "weights": words.percent(cost.weight_bytes) if cost else "",
    }
    # The column that is none of these has the name of the target's metric.
    metric = "" if output.metric is None else words.metric_value(output.metric)
    return tuple(cells.get(name, metric) for name in header)


def _gain(advice: Advice, before: Scores, after: Scores) -> str:
    """What an output gains, in terms of what the search went by: ``+30.3 dB``."""
    if advice.objective == "metric":
        if before.metric is None or after.metric is None:
            return ""
        return f"{after.metric - before.metric:+.3g}"
    if before.sqnr_db is None or after.sqnr_db is None:
        return ""
    won = words.decibels(after.sqnr_db - before.sqnr_db)
    return won if won.startswith("-") else f"+{won}"


def _wish(advice: Advice, wish: str) -> str:
    if not advice.falls_short:
        if not advice.recommended:
            return f"{wish} is reached without any change."
        return f"{wish} is reached with {words.count(advice.recommended, 'change')}."
    if not advice.recommended:
        return f"{wish} is not reached."
    made = words.count(advice.recommended, "change")
    return f"{wish} is not reached: the output is {words.scores(advice.output)} with {made}."


def _nothing(advice: Advice) -> str:
    if advice.before.exact:
        return "There is nothing to win: the output is exactly the reference."
    if not advice.units:
        return "There is nothing to change: no op is quantized."
    most = ""
    if advice.alone and (won := _gain(advice, advice.before, advice.alone[0].output)):
        most = f": the most is {won}, to {words.to_do(advice.alone[0].change)}"
    return f"Nothing that was tried wins enough to be worth a change{most}."
