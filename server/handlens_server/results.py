"""What the runs found, file by file. A file may show findings of runs of other files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from handlens.diagnosis import judge
from handlens.diagnosis.suppressions import suppressions
from handlens.diagnosis.thresholds import ChosenThresholds
from handlens.project import ProjectSettings
from handlens.report import (
    Difference,
    NonFinite,
    OpReport,
    Report,
    Span,
    StaysInFloat,
    Unmatched,
    digest,
)
from handlens.targets import Target
from handlens_server import positions, syntax
from handlens_server.anchors import Anchors


@dataclass(frozen=True)
class Run:
    """One comparison of a document: what was run, and which of its runs it is."""

    uri: str
    file: str
    version: int | None
    """Of the document when the run was asked for; None for a client without versions."""
    generation: int
    text: str
    opened: dict[str, str] = field(default_factory=dict)
    """The texts of the other documents that were open then, by path."""
    project: ProjectSettings = field(default_factory=ProjectSettings)
    thresholds: tuple[ChosenThresholds, ...] = ()
    """The project's and the editor's, each over those before it."""


@dataclass(frozen=True)
class ClassOps:
    """A class of modules, as it was run."""

    name: Span
    ops: tuple[OpReport, ...]
    """The measured ones that are shown in it, the worst first."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run found out about one target."""

    run: Run
    target: Target | None
    """None where the file could not be searched for targets."""
    report: Report
    texts: Mapping[str, str | None]
    """What the spans refer to, by file: the texts as they were executed.

    None where a file cannot be read, or nobody has the text any more: the report has a digest of it then.
    """
    kept: bool = False
    """Whether it is the last good one, beside that of a run that failed."""
    finished: str | None = None
    """When the run ended, as ISO 8601 says it."""
    _anchors: dict[str, Anchors] = field(default_factory=dict, repr=False)
    _changed: set[str] = field(default_factory=set, repr=False)
    """The files without anchors whose text is another one than was executed."""

    def __post_init__(self) -> None:
        self._changed.update(filter(self._is_lost, self.texts))
        spans = _spans(self.report) | {self.declaration}
        spans |= {each.name for classes in self.classes.values() for each in classes}
        for file, text in self.texts.items():
            if text is not None and file not in self._anchors:
                self._anchors[file] = Anchors(text, (each for each in spans if each.file == file))

    def move_to(self, file: str, text: str) -> None:
        """Follow an edit of a file; ``text`` is what has become of it."""
        if file in self._anchors:
            self._anchors[file].move_to(text)
        elif file in self.report.digests:
            changed = digest(text) != self.report.digests[file]
            (self._changed.add if changed else self._changed.discard)(file)

    def settle(self, file: str) -> bool:
        """Find out whether an edit has changed the code of a file; whether it turns out that it has not."""
        return file in self._anchors and self._anchors[file].settle()

    def reads(self, file: str) -> bool:
        """Whether the run executed a file, whether or not it shows anything in it."""
        return file in self.texts or file in self.report.digests or file in self.report.files

    def is_stale(self, file: str) -> bool:
        """Whether the code of a file is another one than was run."""
        return file in self._changed or (file in self._anchors and self._anchors[file].is_stale)

    @property
    def is_outdated(self) -> bool:
        """Whether the code of any file that was run is another one by now."""
        return bool(self._changed) or any(each.is_stale for each in self._anchors.values())

    def holds(self, file: str) -> bool:
        """Whether another run could only find the same, as far as the text of a file goes."""
        is_known = file in self._anchors or file in self.report.digests.keys() - self.texts.keys()
        return self.report.error is None and is_known and not self.is_stale(file)

    def _is_lost(self, file: str) -> bool:
        """Whether nobody has the text any more that was executed of a file."""
        return file in self.report.digests and self.texts.get(file, "") is None

    def has_other_suppressions(self, file: str) -> bool:
        """Whether the comments of a file suppress something else than they did, in the same code."""
        before, now = self.texts.get(file), self.text(file)
        if before is None or now is None or self.is_stale(file) or self.report.coverage is None:
            return False
        return _suppressed(before) != _suppressed(now)

    def judged(self, project: ProjectSettings, thresholds: tuple[ChosenThresholds, ...]) -> Result:
        """What it says by other thresholds, and by the suppressions of now if the code is the same."""
        run = replace(self.run, project=project, thresholds=thresholds)
        if self.report.coverage is None:
            return replace(self, run=run)
        moved = self if any(map(self.is_stale, self.texts)) else self._rebased()
        texts = {file: text for file, text in moved.texts.items() if text is not None}
        report = judge(moved.report, thresholds, texts, moved.declaration)
        run = replace(run, text=moved.run.text)
        judged = replace(moved, run=run, report=project.selected(report), _anchors={})
        for file, anchors in self._anchors.items():
            judged.move_to(file, anchors.text)
        return judged

    def _rebased(self) -> Result:
        """The same of the texts of now, as if those had been run."""
        texts = {file: self.text(file) for file in self.texts}
        if texts == self.texts or self.target is None:
            return self

        def moved(op: OpReport) -> OpReport:
            shown = None if op.span is None else self.span(op.span)
            spans = tuple(filter(None, map(self.span, op.spans)))
            return replace(op, spans=spans, shown=None if shown is None else spans.index(shown))

        target = self.target
        if (place := self.span(self.declaration)) is not None:
            target = replace(
                target, line=place.line, column=place.column, end_column=place.end_column
            )

        def now(span: Span | None) -> Span | None:
            return span and self.span(span)

        coverage = self.report.coverage
        if coverage is not None:
            coverage = replace(
                coverage,
                unmatched=tuple(replace(e, span=now(e.span)) for e in coverage.unmatched),
                in_float=tuple(replace(e, span=now(e.span)) for e in coverage.in_float),
            )
        verified = self.report.verified
        if verified is not None and (begins := verified.difference) is not None:
            verified = replace(verified, difference=replace(begins, span=now(begins.span)))
        non_finite = self.report.non_finite
        if non_finite is not None:
            non_finite = replace(
                non_finite,
                span=now(non_finite.span),
                nan_span=now(non_finite.nan_span),
                infinity_span=now(non_finite.infinity_span),
            )
        report = replace(
            self.report,
            non_finite=non_finite,
            ops=tuple(map(moved, self.report.ops)),
            coverage=coverage,
            verified=verified,
            digests=self.report.digests
            | {file: digest(text) for file, text in texts.items() if text},
        )
        run = replace(self.run, text=texts.get(self.run.file) or "")
        return replace(self, run=run, target=target, report=report, texts=texts)

    def text(self, file: str) -> str | None:
        """What ``span`` refers to: the text of a file as it is now."""
        return self._anchors[file].text if file in self._anchors else None

    def span(self, span: Span) -> Span | None:
        """Where a span is now; None if what it covered was edited, or it is not known whether it was."""
        if span.file in self._anchors:
            return self._anchors[span.file].span(span)
        return None if self._is_lost(span.file) else span

    def ops_starting_in(self, file: str, first: int, last: int) -> Iterator[tuple[Span, OpReport]]:
        """The ops that are shown in some lines of a file, and where they are now."""
        if file in self._anchors:
            yield from self._with_ops(self._anchors[file].starting_in(first, last))

    def ops_at(self, file: str, line: int, column: int) -> Iterator[tuple[Span, OpReport]]:
        """The ops that are shown at a place of a file, and where they are now."""
        if file in self._anchors:
            yield from self._with_ops(self._anchors[file].covering(line, column))

    def _with_ops(self, spans: Iterable[tuple[Span, Span]]) -> Iterator[tuple[Span, OpReport]]:
        for span, now in spans:
            for op in self._ops_by_span.get(span, ()):
                yield now, op

    @cached_property
    def _ops_by_span(self) -> dict[Span, list[OpReport]]:
        found: dict[Span, list[OpReport]] = {}
        for op in self.report.ops:
            if op.span is not None:
                found.setdefault(op.span, []).append(op)
        return found

    @cached_property
    def classes(self) -> dict[str, list[ClassOps]]:
        """The classes of modules that ops are shown in, by file."""
        measured = ((op.sqnr_db, op.handle, op) for op in self.report.ops if op.sqnr_db is not None)
        ops = [(op.span, op) for _, _, op in sorted(measured) if op.span is not None]
        found: dict[str, list[ClassOps]] = {}
        for file, text in self.texts.items():
            own = [(span.line, op) for span, op in ops if span.file == file]
            for each in syntax.module_classes(text or "", file):
                inside = tuple(op for line, op in own if each.name.line <= line <= each.last)
                if inside:
                    found.setdefault(file, []).append(ClassOps(each.name, inside))
        return found

    def op(self, handle: int | None) -> OpReport | None:
        """The op with a debug handle."""
        return self._ops_by_handle.get(handle or 0)

    @cached_property
    def _ops_by_handle(self) -> dict[int, OpReport]:
        return {op.handle: op for op in self.report.ops}

    def place(self, handle: int | None) -> Span | None:
        """Where the op with a debug handle was shown, compared or not; for None where the target was."""
        return self.declaration if handle is None else self._places_by_handle.get(handle)

    @cached_property
    def _places_by_handle(self) -> dict[int, Span]:
        return {
            each.handle: each.span
            for each in (*_beside_ops(self.report), *self.report.ops)
            if each.handle is not None and each.span is not None
        }

    @cached_property
    def worst(self) -> OpReport | None:
        """The op with the lowest ratio; None where none was measured."""
        measured = ((op.sqnr_db, op.handle, op) for op in self.report.ops if op.sqnr_db is not None)
        return min(measured, default=(0.0, 0, None))[2]

    @property
    def name(self) -> str:
        return self.target.name if self.target else ""

    @property
    def declaration(self) -> Span:
        """Where a finding without a span is shown: on the target's name, or else the first line."""
        if self.target is None:
            return Span(self.run.file, 1, 0, 1, len(self.run.text.partition("\n")[0]))
        target = self.target
        return Span(self.run.file, target.line, target.column, target.line, target.end_column)


def files(report: Report) -> set[str]:
    """The files that a report shows something in."""
    return {span.file for span in _spans(report)}


@lru_cache(8)
def _suppressed(text: str) -> list[tuple[str, frozenset[str]]]:
    """The lines that have suppressions, without their indentation, and what those suppress."""
    if "handlens:" not in text:
        return []
    lines = positions.split_lines(text)
    return [(lines[each.line - 1].strip(), each.codes) for each in suppressions(text)]


def _beside_ops(report: Report) -> Iterator[Unmatched | StaysInFloat | Difference | NonFinite]:
    """What a report has a place and a debug handle for, beside the ops that were compared."""
    if report.coverage is not None:
        yield from report.coverage.unmatched
        yield from report.coverage.in_float
    if report.verified is not None and report.verified.difference is not None:
        yield report.verified.difference
    if report.non_finite is not None:
        yield report.non_finite


def _spans(report: Report) -> set[Span]:
    # Of what a comment suppresses there is no finding, until the comment is gone.
    spans: list[Span | None] = [each.span for each in (*report.ops, *_beside_ops(report))]
    if (found := report.non_finite) is not None:
        spans += [found.nan_span, found.infinity_span]
    for finding in report.findings:
        spans += [finding.span, *(related.span for related in finding.related)]
    return {span for span in spans if span is not None}


def _size(span: Span) -> tuple[int, int]:
    return span.end_line - span.line, span.end_column - span.column


class Results:
    """The latest result of every target of every open document, and the last good one beside it if that
    failed."""

    def __init__(self) -> None:
        self._results: dict[str, dict[str, tuple[Result, ...]]] = {}

    def put(self, result: Result) -> set[str]:
        """Replace the result of a target; the files that show anything else from now on."""
        results = self._results.setdefault(result.run.uri, {})
        previous = results.get(result.name, ())
        good = next((each for each in previous if each.report.error is None), None)
        if result.report.error is None or good is None:
            results[result.name] = (result,)
        else:
            results[result.name] = result, replace(good, kept=True)
        return {file for each in (result, *previous) for file in each.texts}

    def exchange(self, old: Result, new: Result) -> set[str]:
        """Put a result in the place of what it was made from; the files that may show anything else."""
        targets = self._results[old.run.uri]
        targets[old.name] = tuple(new if each is old else each for each in targets[old.name])
        return set(old.texts)

    def keep(self, uri: str, names: set[str]) -> set[str]:
        """Forget all but the named targets of a document; the files that show less from now on."""
        results = self._results.get(uri, {})
        dropped = [result for name in set(results) - names for result in results.pop(name)]
        return {file for result in dropped for file in result.texts}

    def of(self, uri: str) -> dict[str, Result]:
        """The results of a document's own runs, by target."""
        return {name: results[0] for name, results in self._results.get(uri, {}).items()}

    def all_of(self, uri: str) -> list[Result]:
        """The results of a document's own runs, with the last good ones beside those that failed."""
        return [result for results in self._results.get(uri, {}).values() for result in results]

    def using(self, file: str) -> set[str]:
        """The uris of the documents whose runs read a file, whether or not they show anything there."""
        return {result.run.uri for result in self._all if result.reads(file)}

    def move_to(self, file: str, text: str) -> bool:
        """Follow an edit of a file; ``text`` is what has become of it.

        True if a result has become one of before, or is in force again.
        """
        reading = [result for result in self._all if result.reads(file)]
        before = [result.is_outdated for result in reading]
        for result in reading:
            result.move_to(file, text)
        return before != [result.is_outdated for result in reading]

    def innermost(
        self, file: str, text: str, place: tuple[int, int]
    ) -> tuple[Span | None, list[tuple[Result, OpReport]]]:
        """The smallest expression around a place of a file that has ops, and those, of all targets."""
        found = [
            (span, result, op)
            for result in self.following(file, text)
            for span, op in result.ops_at(file, *place)
        ]
        smallest = min((span for span, _, _ in found), key=_size, default=None)
        return smallest, [
            (result, op)
            for span, result, op in found
            if smallest is not None and (span.start, span.end) == (smallest.start, smallest.end)
        ]

    def in_line(self, file: str, text: str, line: int) -> list[tuple[Result, OpReport]]:
        """The ops of the expressions that start in a line of a file, of all targets."""
        return [
            (result, op)
            for result in self.following(file, text)
            for _, op in result.ops_starting_in(file, line, line)
        ]

    def following(self, file: str, text: str) -> list[Result]:
        """The results that show something in a file and have followed it to this text.

        Numbers beside a line that they were not measured on are worse than none.
        """
        return [result for result in self.at(file) if result.text(file) == text]

    def at(self, file: str) -> Iterator[Result]:
        """The results, of any document, that show something in a file."""
        return (result for result in self._all if file in result.texts)

    @property
    def _all(self) -> Iterator[Result]:
        for targets in self._results.values():
            for results in targets.values():
                yield from results
