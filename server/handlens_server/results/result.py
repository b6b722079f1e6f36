"""What one run found out about one target, and where that is in the texts of now."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from lsprotocol import types

from handlens import syntax, words
from handlens.diagnosis import judge
from handlens.diagnosis.suppressions import suppressions
from handlens.diagnosis.thresholds import ChosenThresholds
from handlens.project import ProjectSettings
from handlens.report import (
    Advice,
    Difference,
    NonFinite,
    OpReport,
    Report,
    Span,
    StaysInFloat,
    Unmatched,
    digest,
)
from handlens.source_text import split_lines
from handlens.targets import Target
from handlens_server.results.rebasing import rebased
from handlens_server.text.anchors import Anchors
from handlens_server.text.documents import Documents, read


@dataclass(frozen=True)
class Run:
    """One comparison of a document: what was run, and which of its runs it is."""

    uri: str
    file: str
    version: int | None
    """The version of the document when the run was asked for; None for a client without versions."""
    generation: int
    text: str
    opened: dict[str, str] = field(default_factory=dict)
    """The texts of the other documents that were open then, by path."""
    project: ProjectSettings = field(default_factory=ProjectSettings)
    thresholds: tuple[ChosenThresholds, ...] = ()
    """The thresholds of the project and of the editor, each over those before it."""
    recipe: str | None = None
    """The recipe that the editor asks for; None for that of the target."""
    targets: int = 1
    """How many targets the document has."""


# As many as have room in a line.
_LONGEST_HISTORY = 5


@dataclass(frozen=True)
class ClassOps:
    """A class with a ``forward``, and the ops that its lines run."""

    name: Span
    """The name in the text that was run."""
    ops: tuple[OpReport, ...]
    """The measured ops that are shown in the class, the worst first."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run found out about one target."""

    run: Run
    target: Target | None
    """None where the file could not be searched for targets."""
    report: Report
    texts: Mapping[str, str | None]
    """By file, the text that was executed, which the spans of the report refer to.

    None for a file that cannot be read, or that was changed since and has only a digest in the report.
    """
    is_previous: bool = False
    """True for the last result without an error, while a later run of the target has failed."""
    finished: str | None = None
    """When the run ended, in ISO 8601."""
    previous_db: float | None = None
    """The SQNR of the output in the last result with the same recipe, if it was another one."""
    history: tuple[float, ...] = ()
    """The SQNR of the output in the results before with the same recipe, without those that were equal."""
    is_recalled: bool = False
    """True if it is shown again, because its texts are back, until a run has measured them anew."""
    _anchors: dict[str, Anchors] = field(default_factory=dict, repr=False)
    _changed: set[str] = field(default_factory=set, repr=False)
    """The files without anchors whose present text is not the one that was executed."""

    def __post_init__(self) -> None:
        self._changed.update(filter(self._is_lost, self.texts))
        spans = _spans(self.report) | {self.declaration}
        spans |= {each.name for classes in self.classes.values() for each in classes}
        for file, text in self.texts.items():
            if text is not None and file not in self._anchors:
                self._anchors[file] = Anchors(text, (each for each in spans if each.file == file))

    def move_to(self, file: str, text: str) -> None:
        """Move the spans in a file to where they are after an edit; ``text`` is the whole new text."""
        if file in self._anchors:
            self._anchors[file].move_to(text)
        elif file in self.report.digests:
            changed = digest(text) != self.report.digests[file]
            (self._changed.add if changed else self._changed.discard)(file)

    def catch_up(self, documents: Documents) -> None:
        """Move to the present texts: files may have been edited while they were run, or judged."""
        for file in self.texts:
            if (text := documents.text(file)) is not None:
                self.move_to(file, text)
        for document in documents.open:
            if document.file is not None and document.file not in self.texts:
                self.move_to(document.file, document.source)

    def compare_code(self, file: str) -> bool:
        """Compare the code of a file with the code that was run.

        Returns True if the code turns out to be the same although it was taken for changed.
        """
        return file in self._anchors and self._anchors[file].compare_code()

    def reads(self, file: str) -> bool:
        """True if the run executed a file, even if nothing is shown in it."""
        return file in self.texts or file in self.report.digests or file in self.report.files

    def is_stale_in(self, file: str) -> bool:
        """True if the code of a file is not the code that was run."""
        return file in self._changed or (file in self._anchors and self._anchors[file].is_stale)

    @property
    def is_stale(self) -> bool:
        """True if the code of any file that was run has changed since."""
        return bool(self._changed) or any(each.is_stale for each in self._anchors.values())

    def is_up_to_date(self, file: str) -> bool:
        """True if nothing in the text of a file could make another run find something else."""
        is_known = file in self._anchors or file in self.report.digests.keys() - self.texts.keys()
        return self.report.error is None and is_known and not self.is_stale_in(file)

    def _is_lost(self, file: str) -> bool:
        """True if a file was executed, and its text of then is not available any more."""
        return file in self.report.digests and self.texts.get(file, "") is None

    def after(self, previous: Result | None) -> Result:
        """The result, which also tells what the output was in the results before it."""
        if previous is None or previous.report.recipe != self.report.recipe:
            return self
        before, now = previous.report.output, self.report.output
        if before is None or now is None or before.sqnr_db is None or now.sqnr_db is None:
            return self
        if words.decibels(before.sqnr_db) == words.decibels(now.sqnr_db):
            known = previous.previous_db if previous.is_recalled else None
            return replace(self, previous_db=known, history=previous.history)
        history = (*previous.history, before.sqnr_db)[-_LONGEST_HISTORY:]
        return replace(self, previous_db=before.sqnr_db, history=history)

    def recalled(self) -> Result:
        """The result, to be shown again for the same texts."""
        return replace(
            self, is_recalled=True, is_previous=False, _anchors={}, _changed=set(), previous_db=None
        )

    def is_of(self, run: Run, documents: Documents) -> bool:
        """True if it was measured on the texts that a run would execute, with the same settings."""
        if self.report.status != "ok" or (self.run.text, self.run.recipe) != (run.text, run.recipe):
            return False
        others = self.report.digests.keys() - {run.file}
        texts = {file: documents.text(file) for file in others}
        return self.run.project == run.project and all(
            text is not None and digest(text) == self.report.digests[file]
            for file, text in texts.items()
        )

    @property
    def advice(self) -> Advice | None:
        """The advice for the present texts; None if there is none, or if their code is another one."""
        return None if self.is_stale or self.is_previous else self.report.advice

    @property
    def output(self) -> str:
        """The accuracy of the output in words: ``output 39.5 dB``, ``output 9.2 → 39.5 dB``."""
        output = self.report.output
        if output is None:
            return "output not measured"
        told = words.brief(output)
        if self.previous_db is not None:
            told = f"{words.decibels(self.previous_db).removesuffix(' dB')} → {told}"
        return f"output {told}"

    def has_other_suppressions(self, file: str) -> bool:
        """True if the code of a file is the same, and its comments suppress other codes than before."""
        before, now = self.texts.get(file), self.text(file)
        if before is None or now is None or self.is_stale_in(file) or self.report.coverage is None:
            return False
        return _suppressed(before) != _suppressed(now)

    def judged(self, project: ProjectSettings, thresholds: tuple[ChosenThresholds, ...]) -> Result:
        """The result with its findings made anew, by the given thresholds and the comments that suppress.

        The comments are those of the present texts if their code is the same, else those that were run.
        """
        run = replace(self.run, project=project, thresholds=thresholds)
        if self.report.coverage is None:
            return replace(self, run=run)
        moved = self if any(map(self.is_stale_in, self.texts)) else self._rebased()
        texts = {file: text for file, text in moved.texts.items() if text is not None}
        report = judge(moved.report, thresholds, texts, moved.declaration)
        run = replace(run, text=moved.run.text)
        judged = replace(moved, run=run, report=project.selected(report), _anchors={})
        for file, anchors in self._anchors.items():
            judged.move_to(file, anchors.text)
        return judged

    def _rebased(self) -> Result:
        """The result as if the present texts had been run: they have the same code."""
        texts = {file: self.text(file) for file in self.texts}
        if texts == self.texts or self.target is None:
            return self
        target = self.target
        if (place := self.span(self.declaration)) is not None:
            target = replace(
                target, line=place.line, column=place.column, end_column=place.end_column
            )
        report = rebased(self.report, texts, self.span)
        run = replace(self.run, text=texts.get(self.run.file) or "")
        return replace(self, run=run, target=target, report=report, texts=texts)

    def text(self, file: str) -> str | None:
        """The present text of a file, which the spans that ``span`` returns refer to."""
        return self._anchors[file].text if file in self._anchors else None

    def span(self, span: Span) -> Span | None:
        """Where a span is now; None if the text that it covered was edited, or that cannot be known."""
        if span.file in self._anchors:
            return self._anchors[span.file].span(span)
        return None if self._is_lost(span.file) else span

    def location(self, span: Span, documents: Documents) -> types.Location | None:
        """Where the client has what a span covered; None if that was edited since."""
        now = self.span(span)
        text = None if now is None else self.text(now.file)
        return None if now is None or text is None else documents.locate(now, text)

    def ops_starting_in(self, file: str, first: int, last: int) -> Iterator[tuple[Span, OpReport]]:
        """The ops that are shown in the lines from ``first`` to ``last``, and where they are now."""
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
        """By file, the classes with a ``forward`` in which ops are shown."""
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
        """Where the op with a debug handle was in the text that was run, compared or not.

        Without a handle, where the target was.
        """
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
        """Where a finding without a span is shown: on the target's name, else on the first line."""
        if self.target is None:
            return Span(self.run.file, 1, 0, 1, len(self.run.text.partition("\n")[0]))
        target = self.target
        return Span(self.run.file, target.line, target.column, target.line, target.end_column)


def result_of(run: Run, target: Target | None, report: Report, documents: Documents) -> Result:
    """The result of a run, with its spans moved to where they are in the present texts."""
    texts: dict[str, str | None] = {run.file: run.text}
    for file in {span.file for span in _spans(report)} - {run.file}:
        texts[file] = _executed(run, report, file, documents)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    result = Result(run, target, report, texts, finished=now)
    result.catch_up(documents)
    return result


def _executed(run: Run, report: Report, file: str, documents: Documents) -> str | None:
    """The text of a file that a run executed; None if it is not available any more."""
    document = documents.at(file)
    opened = run.opened.get(document.file or "" if document else file)
    found = [text for text in (opened, read(file)) if text is not None]
    if file in report.digests:
        found = [text for text in found if digest(text) == report.digests[file]]
    return next(iter(found), None)


@lru_cache(8)
def _suppressed(text: str) -> list[tuple[str, frozenset[str]]]:
    """The lines that have suppressions, without their indentation, and the codes that those suppress."""
    if "handlens:" not in text:
        return []
    lines = split_lines(text)
    return [(lines[each.line - 1].strip(), each.codes) for each in suppressions(text)]


def _beside_ops(report: Report) -> Iterator[Unmatched | StaysInFloat | Difference | NonFinite]:
    """All parts of a report that have a span and a debug handle, except the ops that were compared."""
    if report.coverage is not None:
        yield from report.coverage.unmatched
        yield from report.coverage.in_float
    if report.verified is not None and report.verified.difference is not None:
        yield report.verified.difference
    if report.non_finite is not None:
        yield report.non_finite


def _spans(report: Report) -> set[Span]:
    # Spans of suppressed findings count too: the findings come back once the comment is gone.
    spans: list[Span | None] = [each.span for each in (*report.ops, *_beside_ops(report))]
    if (found := report.non_finite) is not None:
        spans += [found.nan_span, found.infinity_span]
    for finding in report.findings:
        spans += [finding.span, *(related.span for related in finding.related)]
    return {span for span in spans if span is not None}
