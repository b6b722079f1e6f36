"""Tasks whose results do not depend on one another, measured by all ranks of a run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from handlens.distributed.ranks import Ranks

# So many tasks for each rank are measured before a result is used: few, for people wait for results.
_TASKS = 4

Task = TypeVar("Task", bound=Hashable)
Result = TypeVar("Result")


class SharedWork(Generic[Task, Result]):
    """Measures tasks one by one in rank 0, and with it in all ranks those that come next.

    Args:
        name: Tells the others whose tasks they are asked to measure.
        measure: Gives the same result for a task in every rank.
        ranks: None if there is but one process.
    """

    def __init__(self, name: str, measure: Callable[[Task], Result], ranks: Ranks | None) -> None:
        self._name, self._measure, self._ranks = name, measure, ranks
        self._ahead: list[Task] = []
        self._results: dict[Task, Result] = {}
        self._blocks = 0

    def announce(self, tasks: Sequence[Task]) -> None:
        """Say which tasks are going to be asked for next, in their order."""
        self._ahead = list(tasks)

    def result(self, task: Task) -> Result:
        """The result of a task. Raises whatever measuring it raises."""
        if task not in self._results and self._ranks is not None and task in self._ahead:
            self._measure_ahead(self._ranks, self._ahead.index(task))
        found = self._results.pop(task, None)
        return self._measure(task) if found is None else found

    def measure_some(self, ranks: Ranks, block: int, tasks: Sequence[Task]) -> dict[int, Result]:
        """Measure the tasks that this rank claims. Returns results by place, of tasks that raise none."""
        found: dict[int, Result] = {}
        while (place := ranks.claim(f"{self._name} {block}")) < len(tasks):
            # Rank 0 measures it again, and meets the exception where one process does.
            with suppress(Exception):
                found[place] = self._measure(tasks[place])
        return found

    def _measure_ahead(self, ranks: Ranks, start: int) -> None:
        """Measure the next of the tasks that were announced, in all ranks."""
        tasks = self._ahead[start : start + _TASKS * (len(ranks.others) + 1)]
        del self._ahead[: start + len(tasks)]
        if len(tasks) < 2:
            return
        self._blocks += 1
        ranks.broadcast((self._name, self._blocks, tasks))
        found = self.measure_some(ranks, self._blocks, tasks)
        for each in ranks.others:
            found |= ranks.receive(each)
        self._results = {tasks[place]: result for place, result in found.items()}
