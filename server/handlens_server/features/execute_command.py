"""workspace/executeCommand: the commands of ``handlens_server.commands``. Each returns at once."""

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
from handlens.advised import of_steps
from handlens.rendering.formats import FORMATS
from handlens.rendering.view import View
from handlens.report import Document as ReportDocument
from handlens.target_edits import Edit, NoEdit
from handlens.targets import HOW_TO_DECLARE
from handlens_server import window
from handlens_server.background import spawn
from handlens_server.commands import (
    ADVISE,
    APPLY_ADVICE,
    CANCEL,
    DECLARE,
    REPORT,
    RERUN,
    RESTART_WORKER,
    SHOW,
    SHOW_TARGETS,
)
from handlens_server.features import status
from handlens_server.runs import drafts
from handlens_server.runs.runs import Runs
from handlens_server.runs.searches import Searches
from handlens_server.state import State
from handlens_server.text import target_template, workspace_edits
from handlens_server.text.discovery import discover
from handlens_server.text.documents import Document, read

_NOT_TRUSTED = "Handlens runs no code of a workspace that is not trusted. Trust it to compare."

_SAVED = {name: each for name, each in FORMATS.items() if each.shown_in != "terminal"}


def register(server: LanguageServer, state: State, runs: Runs, searches: Searches) -> None:
    """Register the handlers."""

    def opened(command: str, uri: str) -> Document:
        document = state.document(uri)
        if document is None:
            raise JsonRpcInvalidParams(f"{command}: {uri} is not open")
        return document

    def show_document(
        uri: str, selection: types.Range | None = None, external: bool = False
    ) -> None:
        spawn(window.show_document(server, state.capabilities, uri, selection, external))

    def tell(text: str) -> None:
        window.show_message(server, types.MessageType.Info, text)

    @functools.cache
    def folder_of_reports() -> Path:
        folder = tempfile.TemporaryDirectory(prefix="handlens-")
        return Path(state.resources.enter_context(folder))

    @server.command(RERUN)
    def rerun(uri: str) -> None:
        """Run a document, with its text of this moment."""
        document = opened(RERUN, uri)
        runs.prioritize(document)
        found = runs.start(document).found
        if not found or not state.trusted:
            tell(_NOT_TRUSTED if found else HOW_TO_DECLARE)

    @server.command(CANCEL)
    def cancel(uri: str) -> None:
        """End the run of a document, or the search behind it; what they have shown stays."""
        document = opened(CANCEL, uri)
        runs.cancel(document.uri)
        searches.cancel(document.uri)

    @server.command(ADVISE)
    def advise(uri: str) -> None:
        """Search for what helps each target of a document, in the background."""
        document = opened(ADVISE, uri)
        runs.prioritize(document)
        found = discover(document.source, document.file or "").found
        if state.settings(document.file).advise == "off":
            tell("Handlens searches for nothing while handlens.advise is off.")
        elif not found or not state.trusted:
            tell(_NOT_TRUSTED if found else HOW_TO_DECLARE)
        else:
            searches.start(document)

    @server.command(APPLY_ADVICE)
    async def apply_advice(uri: str, target: str, steps: int) -> bool:
        """Edit a target so that it makes the first steps of its advice. Returns True if it was edited."""
        document = opened(APPLY_ADVICE, uri)
        result = state.results.of(document.uri).get(target)
        advice = result and result.advice
        offer = of_steps(advice, steps) if advice else None
        if result is None or result.target is None or offer is None:
            tell(f"Handlens: there is no advice for the present text of {target}.")
            return False
        try:
            edit = workspace_edits.with_changes(state.documents, result.target, offer.changes)
        except NoEdit as reason:
            tell(f"Handlens: {reason}.")
            return False
        answer = await server.workspace_apply_edit_async(
            types.ApplyWorkspaceEditParams(edit, label=offer.title)
        )
        return answer.applied

    @server.command(DECLARE)
    async def declare(uri: str, model: str) -> bool:
        """Declare a target for a model class, with what a worker finds out that the class runs on.

        Returns True if it was declared.
        """
        document = opened(DECLARE, uri)
        if document.file is None or not state.trusted:
            tell(_NOT_TRUSTED)
            return False
        found = await drafts.find(state, document, model)
        text = document.source
        kind = next(
            (each for each in target_template.model_classes(text) if each.name == model), None
        )
        if kind is None:
            tell(f"Handlens: {model} is not a model class without a target any more.")
            return False
        function = target_template.target_function(kind, text, found)
        edit = Edit(len(text), len(text), function)
        answer = await server.workspace_apply_edit_async(
            types.ApplyWorkspaceEditParams(
                workspace_edits.workspace_edit(state.documents, document.file, edit),
                label=f"Declare a Handlens target for {model}",
            )
        )
        if answer.applied:
            start, end = target_template.to_fill_in(function, found)
            where = workspace_edits.location(state.documents, document.file, edit, start, end)
            if where is not None:
                show_document(where.uri, where.range)
        return answer.applied

    @server.command(RESTART_WORKER)
    def restart_worker() -> None:
        """End every worker, and run all open documents in new ones."""
        spawn(state.pool.close())
        runs.restart()

    @server.command(REPORT)
    def report(uri: str, form: str) -> str | None:
        """Write the last results of a document to a file of some format, and show it.

        Returns the uri of the file.
        """
        document = opened(REPORT, uri)
        if not isinstance(form, str) or form not in _SAVED:
            raise JsonRpcInvalidParams(f"{REPORT}: {form!r} is not one of {', '.join(_SAVED)}")
        results = state.results.of(document.uri).values()
        if not results:
            tell("Handlens: there is no report of this file: nothing in it has been run.")
            return None
        texts = {file: text for result in results for file, text in result.texts.items()}
        whole = ReportDocument(
            handlens.__version__, None, tuple(result.report for result in results)
        )
        folder = state.documents.root(document.file or "")
        content = _SAVED[form].render(
            whole, View(lambda file: texts[file] if file in texts else read(file), folder)
        )
        # Files in different folders may have one name, and a name may be too long for the suffix.
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
        return status.targets(state, runs, searches, opened(SHOW_TARGETS, uri))
