"""window/showMessage and window/logMessage: what workers print, and why models cannot be run."""

from __future__ import annotations

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens.report import Report
from handlens_server import window
from handlens_server.state import State


def register(server: LanguageServer, state: State) -> None:
    """Subscribe to what is to be told."""

    def worker_printed(line: str) -> None:
        window.log_message(server, types.MessageType.Log, line)

    def worker_unusable(problem: str) -> None:
        if state.capabilities.status:
            # Such a client has the problem in its status, and tells what can be done about it.
            return
        window.show_message(server, types.MessageType.Error, f"Handlens: {problem}")

    def run_failed(report: Report) -> None:
        if report.error is not None and report.error.traceback:
            window.log_message(server, types.MessageType.Error, report.error.traceback)

    state.events.worker_printed.subscribe(worker_printed)
    state.events.worker_unusable.subscribe(worker_unusable)
    state.events.run_failed.subscribe(run_failed)
