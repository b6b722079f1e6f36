"""workspace/executeCommand: what the user asks for by name. Every command returns at once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from handlens.targets import HOW_TO_DECLARE
from handlens_server.discovery import discover
from handlens_server.documents import Document

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer

RERUN = "handlens.server.rerun"
CANCEL = "handlens.server.cancel"
RESTART_WORKER = "handlens.server.restartWorker"
SHOW = "handlens.server.show"
SHOW_TARGETS = "handlens.server.showTargets"


def register(server: HandlensServer) -> None:
    """Register the handlers."""

    def opened(command: str, uri: str) -> Document:
        document = server.documents.find(uri)
        if document is None:
            raise JsonRpcInvalidParams(f"{command}: {uri} is not open")
        return document

    @server.command(RERUN)
    def rerun(uri: str) -> None:
        """Run a document on its text of this moment."""
        if not server.runs.start(opened(RERUN, uri)).found:
            server.window_show_message(
                types.ShowMessageParams(types.MessageType.Info, HOW_TO_DECLARE)
            )

    @server.command(CANCEL)
    def cancel(uri: str) -> None:
        """End the run of a document; what it has shown stays."""
        server.runs.cancel(opened(CANCEL, uri).uri)

    @server.command(RESTART_WORKER)
    def restart_worker() -> None:
        """End every worker, and run all open documents in new ones."""
        server.spawn(server.pool.close())
        server.runs.restart()

    @server.command(SHOW)
    def show(uri: str, line: int, character: int, end_line: int, end_character: int) -> None:
        """Open a file at a range."""
        start, end = types.Position(line, character), types.Position(end_line, end_character)
        server.spawn(server.show(uri, types.Range(start, end)))

    @server.command(SHOW_TARGETS)
    def show_targets(uri: str) -> list[dict[str, Any]]:
        """The targets of a document: where each is declared, and what its last run found."""
        document = opened(SHOW_TARGETS, uri)
        if document.file is None:
            return []
        results = server.results.of(document.uri)
        listed = []
        for target in discover(document.source, document.file).targets:
            result = results.get(target.name)
            output = result.report.output if result else None
            listed.append(
                {
                    "name": target.name,
                    "kind": target.kind,
                    "line": target.line,
                    "column": target.column,
                    "running": server.runs.is_running(document.uri),
                    "status": result.report.status if result else None,
                    "recipe": result.report.recipe if result else None,
                    "stale": bool(result and result.is_stale(document.file)),
                    "output": dataclasses.asdict(output) if output else None,
                }
            )
        return listed
