"""What is shown stays true: it moves with edits, is marked where it is of before, and is judged again."""

from __future__ import annotations

from collections.abc import Iterable

from handlens.project import ProjectSettings
from handlens_server.results.result import Result
from handlens_server.state import State


class Freshness:
    """Keeps the results in step with the texts and the thresholds of now."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._events = state.events

    def move(self, file: str) -> None:
        """Move what is shown in a file to where it is in the file's present text."""
        if self._state.results.move_to(file, self._state.documents.text(file) or ""):
            self._events.numbers_changed()
            self._tell_status(file)
        self._judge_suppressions(file)
        self._events.findings_moved(file)

    def compare_code(self, file: str) -> None:
        """Find out whether the last edits of a file have changed its code.

        That takes too long to be done with every letter that is typed.
        """
        restored = [result.compare_code(file) for result in self._state.results.at(file)]
        if any(restored):
            self._judge_suppressions(file)
            self._events.findings_moved(file)
            self._events.numbers_changed()
        self._tell_status(file)

    def judge(self, results: Iterable[Result], project: ProjectSettings) -> None:
        """Judge results by the thresholds and the suppressions of now."""
        changed: set[str] = set()
        for result in results:
            thresholds = self._state.thresholds(result.run.file, project)
            changed |= self._state.results.replace(result, result.judged(project, thresholds))
            self._events.status_changed(result.run.uri)
        self._events.findings_changed(changed, None)

    def _judge_suppressions(self, file: str) -> None:
        """Judge anew what the comments of a file suppress, if an edit has changed that."""
        for result in list(self._state.results.at(file)):
            if result.has_other_suppressions(file):
                self.judge([result], result.run.project)

    def _tell_status(self, file: str) -> None:
        for uri in self._state.dependents(file):
            self._events.status_changed(uri)
