"""textDocument and notebookDocument, didOpen, didChange, didSave and didClose; changes of files on disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens_server.runs.abandonment import Abandonment
from handlens_server.runs.freshness import Freshness
from handlens_server.runs.runs import Runs
from handlens_server.runs.triggers import Triggers
from handlens_server.state import State
from handlens_server.text.documents import path_of


def register(
    server: LanguageServer,
    state: State,
    runs: Runs,
    triggers: Triggers,
    freshness: Freshness,
    abandonment: Abandonment,
) -> None:
    """Register the handlers.

    They are synchronous, because the version and the text of a document have to be read together: pygls
    runs asynchronous handlers in no set order.
    """

    on_disk: dict[str, str] = {}
    """By open file, the last text that is known to be on disk."""
    awaited: set[str] = set()
    """The open files that were changed on disk, and that the editor may be about to read again."""

    def opened(uri: str) -> None:
        document = state.documents.find(uri)
        if document is not None and document.file is not None:
            on_disk[document.file] = document.source
            abandonment.opened(document)
            # Runs of other files may have found something here, and now the file has a version.
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
            # Findings of other files' runs stay here, and are shown under the uri of a closed file.
            freshness.move(file)

    def changed_on_disk(file: str) -> None:
        """Handle a file that something else than the editor has written as if it was saved."""
        document = state.documents.at(file)
        if document is None or document.file is None:
            freshness.move(file)
            triggers.saved(file)
        elif document.is_unsaved:
            # The text in the editor counts. The editor reads the file again soon, or never.
            awaited.add(document.file)
        else:
            awaited.discard(document.file)
            # Clients also tell about files that the editor itself has saved.
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
                for document in state.known_documents:
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
