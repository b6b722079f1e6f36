"""The results of all open documents, by document and target, and by file."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator

from handlens.report import OpReport, Span
from handlens_server.results.result import Result, Run
from handlens_server.text.documents import Documents

# Each has the numbers of a thousand ops.
_MOST_EARLIER = 6


class Results:
    """The latest result of every target of every open document.

    While the latest run of a target has failed, the last result without an error is held beside it.
    """

    def __init__(self) -> None:
        self._results: dict[str, dict[str, tuple[Result, ...]]] = {}
        self._earlier: dict[str, deque[Result]] = {}
        """By the uri of a document, results that others have replaced, the latest first."""

    def put(self, result: Result) -> set[str]:
        """Replace the result of a target.

        Returns the files that may show something else from now on.
        """
        results = self._results.setdefault(result.run.uri, {})
        previous = results.get(result.name, ())
        good = next((each for each in previous if each.report.error is None), None)
        if good is not None and not good.is_recalled:
            earlier = self._earlier.setdefault(result.run.uri, deque(maxlen=_MOST_EARLIER))
            earlier.appendleft(good)
        if result.report.error is None or good is None:
            results[result.name] = (result,)
        else:
            results[result.name] = result, dataclasses.replace(good, is_previous=True)
        return {file for each in (result, *previous) for file in each.texts}

    def recall(self, run: Run, documents: Documents) -> Iterator[Result]:
        """Results of before, one for each target, that were measured on what a run is going to execute."""
        found: dict[str, Result] = {}
        for result in self._earlier.get(run.uri, ()):
            if result.name not in found and result.is_of(run, documents):
                found[result.name] = result
        for name, result in found.items():
            shown = self.numbers_of(run.uri, name)
            if shown is None or not shown.is_of(run, documents):
                yield result.recalled().after(shown)

    def replace(self, old: Result, new: Result) -> set[str]:
        """Put a result in the place of the one that it was made from.

        Returns the files that may show something else from now on.
        """
        targets = self._results[old.run.uri]
        targets[old.name] = tuple(new if each is old else each for each in targets[old.name])
        return set(old.texts)

    def retain_only(self, uri: str, names: set[str]) -> set[str]:
        """Forget the results of a document, except those of the named targets.

        Returns the files that may show less from now on.
        """
        if not names:
            self._earlier.pop(uri, None)
        results = self._results.get(uri, {})
        dropped = [result for name in set(results) - names for result in results.pop(name)]
        return {file for result in dropped for file in result.texts}

    @property
    def uris(self) -> set[str]:
        """The uris of the documents whose runs have results."""
        return {uri for uri, results in self._results.items() if results}

    def of(self, uri: str) -> dict[str, Result]:
        """The results of a document's own runs, by target."""
        return {name: results[0] for name, results in self._results.get(uri, {}).items()}

    def files(self, uri: str) -> set[str]:
        """The files in which a document's own runs show something."""
        return {file for result in self.all_of(uri) for file in result.texts}

    def all_of(self, uri: str) -> list[Result]:
        """The results of a document's own runs, the last good ones beside those that failed included."""
        return [result for results in self._results.get(uri, {}).values() for result in results]

    def numbers_of(self, uri: str, target: str) -> Result | None:
        """The result that has the numbers of a target: beside a run that failed, the last good one."""
        return next((each for each in reversed(self.all_of(uri)) if each.name == target), None)

    def readers(self, file: str) -> set[str]:
        """The uris of the documents whose runs read a file, whether or not they show anything there."""
        return {result.run.uri for result in self._all if result.reads(file)}

    def move_to(self, file: str, text: str) -> bool:
        """Move the spans in a file to where they are after an edit; ``text`` is the whole new text.

        Returns True if a result has become stale, or is not stale any more.
        """
        reading = [result for result in self._all if result.reads(file)]
        before = [result.is_stale for result in reading]
        for result in reading:
            result.move_to(file, text)
        return before != [result.is_stale for result in reading]

    def innermost(
        self, file: str, text: str, place: tuple[int, int]
    ) -> tuple[Span | None, list[tuple[Result, OpReport]]]:
        """The smallest expression around a place of a file that has ops, and these ops, of all targets."""
        found = [
            (span, result, op)
            for result in self.matching(file, text)
            for span, op in result.ops_at(file, *place)
        ]
        smallest = min((span for span, _, _ in found), key=_size, default=None)
        return smallest, [
            (result, op)
            for span, result, op in found
            if smallest is not None and (span.start, span.end) == (smallest.start, smallest.end)
        ]

    def in_line(self, file: str, text: str, line: int) -> list[tuple[Result, OpReport]]:
        """The ops of the expressions that start in a line of a file, in the runs of all targets."""
        return [
            (result, op)
            for result in self.matching(file, text)
            for _, op in result.ops_starting_in(file, line, line)
        ]

    def matching(self, file: str, text: str) -> list[Result]:
        """The results that show something in a file and whose spans refer to this text of it.

        Others are left out: numbers beside a line that they were not measured on are worse than none.
        """
        return [result for result in self.at(file) if result.text(file) == text]

    def at(self, file: str) -> Iterator[Result]:
        """The results, of runs of any document, that show something in a file."""
        return (result for result in self._all if file in result.texts)

    @property
    def _all(self) -> Iterator[Result]:
        for targets in self._results.values():
            for results in targets.values():
                yield from results


def _size(span: Span) -> tuple[int, int]:
    return span.end_line - span.line, span.end_column - span.column
