"""What the runs found, file by file. A file may show findings of runs of other files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from handlens.report import Report, Span
from handlens.targets import Target


@dataclass(frozen=True)
class Run:
    """One comparison of a document: what was run, and which of its runs it is."""

    uri: str
    file: str
    version: int | None
    """Of the document when the run was asked for; None for a client without versions."""
    generation: int
    text: str


@dataclass(frozen=True)
class Result:
    """What a run found out about one target."""

    run: Run
    target: Target | None
    """None where the file could not be searched for targets."""
    report: Report
    texts: Mapping[str, str | None]
    """What the spans refer to, by file: the document's text as it was run, the other files' on disk.

    None where a file cannot be read.
    """

    @property
    def name(self) -> str:
        return self.target.name if self.target else ""

    @property
    def declaration(self) -> Span:
        """Where a finding without a span is shown: on the target's name, or else the first line."""
        if self.target is None:
            return Span(self.run.file, 1, 0, 1, len(self.run.text))
        target = self.target
        return Span(self.run.file, target.line, target.column, target.line, target.end_column)


def files(report: Report) -> set[str]:
    """The files that a report shows something in."""
    spans: list[Span | None] = [op.span for op in report.ops]
    for finding in report.findings:
        spans += [finding.span, *(related.span for related in finding.related)]
    return {span.file for span in spans if span is not None}


class Results:
    """The latest result of every target of every open document."""

    def __init__(self) -> None:
        self._results: dict[str, dict[str, Result]] = {}

    def put(self, result: Result) -> set[str]:
        """Replace the result of a target; the files that show anything else from now on."""
        results = self._results.setdefault(result.run.uri, {})
        previous = results.get(result.name)
        results[result.name] = result
        return set(result.texts) | (set(previous.texts) if previous else set())

    def keep(self, uri: str, names: set[str]) -> set[str]:
        """Forget all but the named targets of a document; the files that show less from now on."""
        results = self._results.get(uri, {})
        dropped = [results.pop(name) for name in set(results) - names]
        return {file for result in dropped for file in result.texts}

    def of(self, uri: str) -> list[Result]:
        """The results of a document's own runs."""
        return list(self._results.get(uri, {}).values())

    def at(self, file: str) -> Iterator[Result]:
        """The results, of any document, that show something in a file."""
        for results in self._results.values():
            for result in results.values():
                if file in result.texts:
                    yield result
