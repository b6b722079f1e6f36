"""textDocument/codeLens: above each target, how accurate its quantized model is, and a way to run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types

from handlens.report import Span
from handlens.targets import Target
from handlens_server.discovery import discover
from handlens_server.features import execute_command
from handlens_server.results import Result

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer


def register(server: HandlensServer) -> None:
    """Register the handler."""

    @server.feature(types.TEXT_DOCUMENT_CODE_LENS)
    def code_lens(params: types.CodeLensParams) -> list[types.CodeLens]:
        document = server.documents.find(params.text_document.uri)
        if document is None or document.file is None or not document.is_python:
            return []
        results = server.results.of(document.uri)
        running = server.runs.is_running(document.uri)
        lenses = []
        for target in discover(document.source, document.file).targets:
            if target.file != document.file:
                continue
            name = Span(target.file, target.line, target.column, target.line, target.end_column)
            where = document.range(name)
            if where is None:
                continue
            title = _title(target, results.get(target.name), running)
            command = types.Command(title, execute_command.RERUN, arguments=[document.uri])
            lenses.append(types.CodeLens(where, command))
            if target.name in results and not running:
                show = types.Command(
                    "Report", execute_command.REPORT, arguments=[document.uri, "html"]
                )
                lenses.append(types.CodeLens(where, show))
        return lenses


def _title(target: Target, result: Result | None, running: bool) -> str:
    if running:
        return "Handlens: comparing …"
    if result is None:
        return "Handlens: compare with the quantized model"
    if result.report.error is not None:
        return "Handlens: the run failed · rerun"
    stale = " · stale" if result.is_stale(target.file) else ""
    return f"Handlens: {_summary(result)}{stale} · rerun"


def _summary(result: Result) -> str:
    """The accuracy of the output, and the op that is worst."""
    output = result.report.output
    parts = []
    if output is not None:
        verdict = {"exact": "exact", "non-finite": "NaN or Inf", "no-signal": "no signal"}
        accuracy = verdict.get(output.verdict)
        if accuracy is None and output.sqnr_db is not None:
            accuracy = f"{output.sqnr_db:.1f} dB"
        parts.append(f"output {accuracy}")
    if result.worst is not None:
        parts.append(f"worst {result.worst.name} {result.worst.sqnr_db:.1f} dB")
    return " · ".join(parts) or "nothing was measured"
