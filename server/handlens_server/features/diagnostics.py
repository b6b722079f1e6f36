"""textDocument/publishDiagnostics and textDocument/diagnostic: the findings of all runs, by file.

If the client pulls diagnostics, it pulls those of open documents, and those of closed files are pushed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import attrs
from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens.diagnosis.rules import RULES
from handlens.diagnosis.rules.inherited_error import InheritedError
from handlens.rendering.view import clean, clean_lines
from handlens.report import Finding, Span
from handlens.source_text import split_lines
from handlens_server.results.result import Result
from handlens_server.state import State
from handlens_server.text import positions
from handlens_server.text.documents import Document, Part

SOURCE = "handlens"

# Nobody reads more related places.
_MOST_RELATED = 24
_MOST_FRAMES = 8

_PREVIOUS = "(found by the last run that worked)"

_SEVERITIES = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "information": types.DiagnosticSeverity.Information,
    "hint": types.DiagnosticSeverity.Hint,
}


def register(server: LanguageServer, state: State) -> None:
    """Register the handler, and push what is not pulled whenever it changes."""
    diagnostics = Diagnostics(server, state)
    state.events.findings_changed.subscribe(diagnostics.publish)
    state.events.findings_moved.subscribe(diagnostics.move)
    state.events.documents_closed.subscribe(diagnostics.forget)

    @server.feature(
        types.TEXT_DOCUMENT_DIAGNOSTIC,
        types.DiagnosticOptions(
            inter_file_dependencies=True, workspace_diagnostics=False, identifier=SOURCE
        ),
    )
    def diagnostic(params: types.DocumentDiagnosticParams) -> types.DocumentDiagnosticReport:
        document = state.documents.find(params.text_document.uri)
        return diagnostics.pull(document, params.previous_result_id)


_SOMEWHERE = types.Range(types.Position(0, 0), types.Position(0, 0))


@dataclass(frozen=True)
class _Text:
    """What a diagnostic says; its places are those in the text that was run."""

    span: Span
    diagnostic: types.Diagnostic
    """The diagnostic without its places."""
    related: list[tuple[str, Span]]


class Diagnostics:
    """Sends and answers diagnostics, and remembers which ones the client has."""

    def __init__(self, server: LanguageServer, state: State) -> None:
        self._server = server
        self._state = state
        self._published: dict[str, set[str]] = {}
        """By file, the uris under which diagnostics of it were pushed."""
        self._pulled: dict[str, tuple[str, list[types.Diagnostic]]] = {}
        """By uri, the result id and the diagnostics of the last answer."""
        self._texts: WeakKeyDictionary[Result, dict[str, list[_Text]]] = WeakKeyDictionary()
        """By result and file. Typing changes the places of diagnostics, and nothing else of them."""
        self._result_ids = itertools.count(1)

    def pull(
        self, document: Document | None, previous: str | None
    ) -> types.DocumentDiagnosticReport:
        """The diagnostics of a document, or that they are still those of the ``previous`` result id."""
        file = document.file if document else None
        if document is None or file is None or not self._state.capabilities.pulls_diagnostics:
            return types.RelatedFullDocumentDiagnosticReport([])
        uri = document.part.uri
        diagnostics = next((found for part, found in self._of(file) if part.uri == uri), [])
        result_id, known = self._pulled.get(uri, ("", None))
        if known != diagnostics:
            result_id = str(next(self._result_ids))
            self._pulled[uri] = result_id, diagnostics
        if result_id == previous:
            return types.RelatedUnchangedDocumentDiagnosticReport(result_id)
        return types.RelatedFullDocumentDiagnosticReport(diagnostics, result_id=result_id)

    def move(self, file: str) -> None:
        """Show the diagnostics of a file where they are after an edit. Clients that pull ask anyway."""
        self._update([file])

    def publish(self, files: Iterable[str], always: str | None) -> None:
        """Publish the files anew that have or had diagnostics, and the file ``always`` in any case."""
        if self._update(files, always):
            self._server.workspace_diagnostic_refresh(None)

    def _update(self, files: Iterable[str], always: str | None = None) -> bool:
        """Publish the diagnostics that the client does not pull.

        Returns True if any diagnostics that it has pulled are different now.
        """
        outdated = False
        for file in files:
            found = self._of(file)
            if self._state.documents.at(file) and self._state.capabilities.pulls_diagnostics:
                self._clear(file, set())
                outdated |= any(
                    self._pulled.get(part.uri, ("", []))[1] != diagnostics
                    for part, diagnostics in found
                )
            elif file in self._published or file == always or any(each for _, each in found):
                self._clear(file, {part.uri for part, _ in found})
                if any(each for _, each in found):
                    self._published[file] = {part.uri for part, _ in found}
                for part, diagnostics in found:
                    self._send(part.uri, diagnostics, part.version)
        return outdated

    def forget(self, uris: Iterable[str]) -> None:
        """Forget what was pulled of documents that are closed."""
        for uri in uris:
            self._pulled.pop(uri, None)

    def _clear(self, file: str, uris: set[str]) -> None:
        """Take back what was pushed of a file, but not under ``uris``."""
        for uri in sorted(self._published.pop(file, set()) - uris):
            self._send(uri, [], None)

    def _of(self, file: str) -> list[tuple[Part, list[types.Diagnostic]]]:
        """The diagnostics of each part of a file."""
        # Two targets that share a line may have exactly the same finding; once is enough.
        found: dict[object, types.Diagnostic] = {}
        for result in self._state.results.at(file):
            for place, diagnostic in self._render(result, file):
                found.setdefault((place, diagnostic.code, diagnostic.message), diagnostic)
        parts: list[tuple[Part, list[types.Diagnostic]]] = []
        for part in self._state.documents.parts(file):
            inside = ((part.range(each.range), each) for each in found.values())
            parts.append((part, [_moved(each, where) for where, each in inside if where]))
        return parts

    def _send(self, uri: str, diagnostics: list[types.Diagnostic], version: int | None) -> None:
        self._server.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri, diagnostics, version)
        )

    def _render(self, result: Result, file: str) -> Iterator[tuple[Span, types.Diagnostic]]:
        if result not in self._texts:
            self._texts[result] = self._texts_of(result)
        for text in self._texts[result].get(file, ()):
            # A finding ends with the text that it was found in.
            if (place := result.span(text.span)) is not None:
                moved = attrs.evolve(
                    text.diagnostic,
                    range=self._range(place, result),
                    related_information=self._related_information(text, result) or None,
                )
                yield place, moved

    def _related_information(
        self, text: _Text, result: Result
    ) -> list[types.DiagnosticRelatedInformation]:
        return [
            types.DiagnosticRelatedInformation(where, message)
            for message, span in text.related
            if (place := result.span(span)) is not None
            and (where := self._location(place, result)) is not None
        ]

    def _texts_of(self, result: Result) -> dict[str, list[_Text]]:
        """By file, what the diagnostics of a result say."""
        found: dict[str, list[_Text]] = {}
        for finding in result.report.findings:
            span = finding.span or result.declaration
            related = [*_related(finding), *_chain(finding, result)]
            text = _Text(
                span,
                self._diagnostic(finding, result),
                [(clean(message), place) for message, place in related]
                if self._state.capabilities.related_information
                else [],
            )
            found.setdefault(span.file, []).append(text)
        return found

    def _diagnostic(self, finding: Finding, result: Result) -> types.Diagnostic:
        client = self._state.capabilities
        diagnostic = types.Diagnostic(
            _SOMEWHERE,
            message(finding, result),
            severity=_SEVERITIES[finding.severity],
            code=finding.rule,
            source=SOURCE,
        )
        if client.code_description and client.pages and finding.rule in RULES:
            page = f"{client.pages}rules/{finding.rule}.md"
            diagnostic.code_description = types.CodeDescription(page)
        if client.diagnostic_data:
            diagnostic.data = data(finding, result)
        if client.unnecessary_tag and RULES[finding.rule].marks_unnecessary_text:
            diagnostic.tags = [types.DiagnosticTag.Unnecessary]
        return diagnostic

    def _location(self, span: Span, result: Result) -> types.Location | None:
        return self._state.documents.location(span.file, self._range(span, result))

    def _range(self, span: Span, result: Result) -> types.Range:
        text = result.text(span.file)
        if text is None:
            start = types.Position(span.line - 1, 0)
            return types.Range(start, types.Position(max(span.end_line - 1, start.line), 0))
        lines = split_lines(text)
        return positions.to_range(span, lines, self._state.documents.encoding)


def message(finding: Finding, result: Result) -> str:
    """What the diagnostic of a finding says. It names the target if the document has several."""
    # Some clients show the first line alone: it has to be the finding's message.
    note = _PREVIOUS if result.is_previous else ""
    said = clean(finding.message)
    if result.run.targets > 1 and result.name not in said:
        said = f"{said} · {result.name}"
    lines = said, clean_lines(str(finding.cause)), note
    return "\n".join(filter(None, lines))


def data(finding: Finding, result: Result) -> dict[str, str | int | None]:
    """Identifies the finding of a diagnostic: findings of several targets may share a place."""
    return {"uri": result.run.uri, "target": result.name, "handle": finding.handle}


def _moved(diagnostic: types.Diagnostic, where: types.Range) -> types.Diagnostic:
    """A diagnostic with another range, or the same object if it has that range."""
    return diagnostic if where is diagnostic.range else attrs.evolve(diagnostic, range=where)


def _related(finding: Finding) -> Iterator[tuple[str, Span]]:
    """The related places of a finding: its origin, and the places that the loss leads to."""
    # Other instances of the same expression are left out: a link from a place to itself leads nowhere.
    elsewhere = [each for each in finding.related if each.span not in (None, finding.span)]
    for related in elsewhere[:_MOST_RELATED]:
        if related.span is not None:
            yield related.message, related.span


def _chain(finding: Finding, result: Result) -> Iterator[tuple[str, Span]]:
    """The stack of the op of a finding: the frames inside of a library, and the callers."""
    op = result.op(finding.handle)
    if op is None or op.shown is None or finding.rule == InheritedError.code:
        return
    for span in reversed(op.spans[: op.shown][-_MOST_FRAMES:]):
        yield f"in {span.function or 'a module'} of a library", span
    for span in op.spans[op.shown + 1 :][:_MOST_FRAMES]:
        yield f"called from {span.function or 'a module'}", span
