"""What opens, changes, saves and closes documents and notebooks: when they are run, how their results move
with edits, and when those are forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens_server.runs.freshness import Freshness
from handlens_server.runs.runs import Runs
from handlens_server.runs.triggers import Triggers
from handlens_server.state import State
from handlens_server.text.documents import path_of


def register(
    server: LanguageServer, state: State, runs: Runs, triggers: Triggers, freshness: Freshness
) -> None:
    """Register the handlers.

    They are synchronous: pygls runs asynchronous ones in no set order, and the version and the text
    of a document have to be taken together.
    """

    on_disk: dict[str, str] = {}
    """By open file, the text that it was opened with, saved with, or changed to by something else."""
    awaited: set[str] = set()
    """The open files that the disk has another text of, which the editor may be about to read."""

    def opened(uri: str) -> None:
        document = state.documents.find(uri)
        if document is not None and document.file is not None:
            on_disk[document.file] = document.source
            # Runs of other files may have found something here; now the file has a version.
            freshness.move(document.file)
            runs.prioritize(document)
            triggers.opened(document)

    def changed(uri: str) -> None:
        document = state.documents.find(uri)
        if document is not None and document.file is not None:
            freshness.move(document.file)
            runs.prioritize(document)
            triggers.typed(document.file)
            if document.file in awaited:
                changed_on_disk(document.file)

    def saved(uri: str) -> None:
        document = state.documents.find(uri)
        if document is not None and document.file is not None:
            on_disk[document.file] = document.source
            runs.prioritize(document)
            triggers.saved(document.file)

    def closed(uri: str, parts: Iterable[str]) -> None:
        state.events.documents_closed({uri, *parts})
        if (file := path_of(uri)) is not None:
            on_disk.pop(file, None)
            awaited.discard(file)
            # What runs of other files found here stays, under the uri of a closed file.
            freshness.move(file)

    def changed_on_disk(file: str) -> None:
        """Take a text that something else than the editor has written for a saved one."""
        document = state.documents.at(file)
        if document is None or document.file is None:
            freshness.move(file)
            triggers.saved(file)
        elif document.is_unsaved:
            # What is open is what its editor says it is, which reads the file again soon, if at all.
            awaited.add(document.file)
        else:
            awaited.discard(document.file)
            # Clients tell of what the editor itself has saved, too.
            if on_disk.get(document.file) != document.source:
                on_disk[document.file] = document.source
                triggers.saved(document.file)

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def did_change_watched_files(params: types.DidChangeWatchedFilesParams) -> None:
        for change in params.changes:
            file = path_of(change.uri)
            if file is None:
                continue
            if Path(file).name == "pyproject.toml":
                for document in state.documents.open:
                    if document.file and Path(file).parent in Path(document.file).parents:
                        triggers.project_changed(document)
            else:
                changed_on_disk(file)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: types.DidOpenTextDocumentParams) -> None:
        opened(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: types.DidChangeTextDocumentParams) -> None:
        changed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def did_save(params: types.DidSaveTextDocumentParams) -> None:
        saved(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: types.DidCloseTextDocumentParams) -> None:
        closed(params.text_document.uri, [params.text_document.uri])

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def did_open_notebook(params: types.DidOpenNotebookDocumentParams) -> None:
        opened(params.notebook_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def did_change_notebook(params: types.DidChangeNotebookDocumentParams) -> None:
        changed(params.notebook_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_SAVE)
    def did_save_notebook(params: types.DidSaveNotebookDocumentParams) -> None:
        saved(params.notebook_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def did_close_notebook(params: types.DidCloseNotebookDocumentParams) -> None:
        closed(params.notebook_document.uri, [each.uri for each in params.cell_text_documents])
