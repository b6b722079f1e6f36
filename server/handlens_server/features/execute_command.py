"""workspace/executeCommand: what the user asks for by name. Every command returns at once."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

import handlens
from handlens.rendering.formats import FORMATS
from handlens.rendering.view import View
from handlens.report import Document as ReportDocument
from handlens.targets import HOW_TO_DECLARE
from handlens_server import window
from handlens_server.background import spawn
from handlens_server.commands import CANCEL, REPORT, RERUN, RESTART_WORKER, SHOW, SHOW_TARGETS
from handlens_server.features import status
from handlens_server.runs.runs import Runs
from handlens_server.state import State
from handlens_server.text.documents import Document, read

_NOT_TRUSTED = "Handlens runs no code of a workspace that is not trusted. Trust it to compare."

_SAVED = {name: each for name, each in FORMATS.items() if each.shown_in != "terminal"}


def register(server: LanguageServer, state: State, runs: Runs) -> None:
    """Register the handlers."""

    def opened(command: str, uri: str) -> Document:
        document = state.documents.find(uri)
        if document is None:
            raise JsonRpcInvalidParams(f"{command}: {uri} is not open")
        return document

    def show_document(
        uri: str, selection: types.Range | None = None, external: bool = False
    ) -> None:
        spawn(window.show_document(server, state.capabilities, uri, selection, external))

    @functools.cache
    def folder_of_reports() -> Path:
        folder = tempfile.TemporaryDirectory(prefix="handlens-")
        return Path(state.resources.enter_context(folder))

    @server.command(RERUN)
    def rerun(uri: str) -> None:
        """Run a document on its text of this moment."""
        document = opened(RERUN, uri)
        runs.prioritize(document)
        found = runs.start(document).found
        if not found or not state.trusted:
            text = _NOT_TRUSTED if found else HOW_TO_DECLARE
            window.show_message(server, types.MessageType.Info, text)

    @server.command(CANCEL)
    def cancel(uri: str) -> None:
        """End the run of a document; what it has shown stays."""
        runs.cancel(opened(CANCEL, uri).uri)

    @server.command(RESTART_WORKER)
    def restart_worker() -> None:
        """End every worker, and run all open documents in new ones."""
        spawn(state.pool.close())
        runs.restart()

    @server.command(REPORT)
    def report(uri: str, form: str) -> str | None:
        """Write what the last runs of a document found to a page, or to JSON, and show it; its uri."""
        document = opened(REPORT, uri)
        if not isinstance(form, str) or form not in _SAVED:
            raise JsonRpcInvalidParams(f"{REPORT}: {form!r} is not one of {', '.join(_SAVED)}")
        results = state.results.of(document.uri).values()
        if not results:
            text = "Handlens: there is no report of this file: nothing in it has been run."
            window.show_message(server, types.MessageType.Info, text)
            return None
        texts = {file: text for result in results for file, text in result.texts.items()}
        whole = ReportDocument(
            handlens.__version__, None, tuple(result.report for result in results)
        )
        folder = state.documents.root(document.file or "")
        content = _SAVED[form].render(
            whole, View(lambda file: texts[file] if file in texts else read(file), folder)
        )
        # Files of one name have reports of their own, and a name may be too long for another suffix.
        own = folder_of_reports() / hashlib.sha256(document.uri.encode()).hexdigest()[:12]
        own.mkdir(exist_ok=True)
        file = own / f"{Path(document.file or uri).stem[:60]}{_SAVED[form].suffix}"
        file.write_text(content, "utf-8", errors="backslashreplace")
        show_document(file.as_uri(), external=_SAVED[form].shown_in == "browser")
        return file.as_uri()

    @server.command(SHOW)
    def show(uri: str, line: int, character: int, end_line: int, end_character: int) -> None:
        """Open a file at a range."""
        start, end = types.Position(line, character), types.Position(end_line, end_character)
        show_document(uri, types.Range(start, end))

    @server.command(SHOW_TARGETS)
    def show_targets(uri: str) -> list[dict[str, Any]]:
        """The targets of a document: where each is declared, and how it stands with its runs."""
        return status.targets(state, runs, opened(SHOW_TARGETS, uri))
