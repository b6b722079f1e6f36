"""textDocument/publishDiagnostics: for each file, the findings of all runs that concern it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lsprotocol import types

from handlens.report import Finding, Span
from handlens.rules import RULES
from handlens_server import positions
from handlens_server.results import Result

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer

SOURCE = "handlens"

_KEPT = "(found by the last run that worked)"

_SEVERITIES = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "information": types.DiagnosticSeverity.Information,
    "hint": types.DiagnosticSeverity.Hint,
}


class Diagnostics:
    """What the client shows, and which uris it shows it under."""

    def __init__(self, server: HandlensServer) -> None:
        self._server = server
        self._published: dict[str, str] = {}
        """By file, the uri of its diagnostics, as long as there are any."""

    def publish(self, files: Iterable[str], always: str | None = None) -> None:
        """Publish the files anew, those of them that have or had diagnostics, and ``always``."""
        for file in files:
            diagnostics = self.of(file)
            if diagnostics or file in self._published or file == always:
                self._publish(file, diagnostics)

    def of(self, file: str) -> list[types.Diagnostic]:
        """The diagnostics of a file."""
        # Two targets that share a line may say exactly the same about it; once is enough.
        found: list[types.Diagnostic] = []
        for result in self._server.results.at(file):
            for diagnostic in self._render(result, file):
                if diagnostic not in found:
                    found.append(diagnostic)
        return found

    def _publish(self, file: str, diagnostics: list[types.Diagnostic]) -> None:
        uri = self._server.documents.uri(file)
        previous = self._published.pop(file, uri)
        if previous != uri:
            self._send(previous, [], None)
        if diagnostics:
            self._published[file] = uri
        document = self._server.documents.at(file)
        self._send(uri, diagnostics, document.version if document else None)

    def _send(self, uri: str, diagnostics: list[types.Diagnostic], version: int | None) -> None:
        self._server.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri, diagnostics, version)
        )

    def _render(self, result: Result, file: str) -> Iterator[types.Diagnostic]:
        for finding in result.report.findings:
            span = finding.span or result.declaration
            # What was found of a text that is not there any more is found of nothing.
            if span.file == file and (place := result.span(span)) is not None:
                yield self._diagnostic(finding, place, result)

    def _diagnostic(self, finding: Finding, span: Span, result: Result) -> types.Diagnostic:
        client = self._server.client
        diagnostic = types.Diagnostic(
            range=self._range(span, result),
            # Where one line is all that is shown, it is the finding's.
            message="\n".join(
                filter(None, (finding.message, finding.cause, _KEPT if result.kept else ""))
            ),
            severity=_SEVERITIES[finding.severity],
            code=finding.rule,
            source=SOURCE,
        )
        if client.code_description and finding.rule in RULES:
            diagnostic.code_description = types.CodeDescription(RULES[finding.rule].url)
        if client.diagnostic_data:
            diagnostic.data = {"handle": finding.handle, "target": result.name}
        if client.related_information and finding.related:
            diagnostic.related_information = [
                types.DiagnosticRelatedInformation(
                    types.Location(
                        self._server.documents.uri(related.span.file),
                        self._range(place, result),
                    ),
                    related.message,
                )
                for related in finding.related
                if related.span is not None and (place := result.span(related.span)) is not None
            ]
        return diagnostic

    def _range(self, span: Span, result: Result) -> types.Range:
        text = result.text(span.file)
        if text is None:
            start = types.Position(span.line - 1, 0)
            return types.Range(start, types.Position(max(span.end_line - 1, start.line), 0))
        lines = positions.split_lines(text)
        return positions.to_range(span, lines, self._server.documents.encoding)
