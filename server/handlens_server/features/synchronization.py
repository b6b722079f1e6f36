"""What opens, changes, saves and closes documents and notebooks: when they are run, how their results move
with edits, and when those are forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from handlens_server.documents import path_of, read

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer


def register(server: HandlensServer) -> None:
    """Register the handlers.

    They are synchronous: pygls runs asynchronous ones in no set order, and the version and the text
    of a document have to be taken together.
    """

    def opened(uri: str) -> None:
        document = server.documents.find(uri)
        if document is not None and document.file is not None:
            # Runs of other files may have found something here; now the file has a version.
            follow(document.file, document.source)
            server.runs.attend(document)
            server.runs.open(document)

    def changed(uri: str) -> None:
        document = server.documents.find(uri)
        if document is not None and document.file is not None:
            follow(document.file, document.source)
            server.runs.attend(document)
            server.runs.typed(document.file)

    def saved(uri: str) -> None:
        document = server.documents.find(uri)
        if document is not None and document.file is not None:
            server.runs.attend(document)
            server.runs.saved(document.file)

    def closed(uri: str, parts: Iterable[str]) -> None:
        server.runs.forget(uri)
        server.status.forget(uri)
        for part in parts:
            server.diagnostics.forget(part)
        if (file := path_of(uri)) is not None:
            # What runs of other files found here stays, under the uri of a closed file.
            follow(file, read(file) or "")

    def follow(file: str, text: str) -> None:
        """Let what is shown in a file follow its text."""
        for result in server.results.at(file):
            result.move_to(file, text)
        server.runs.follow(file)
        server.diagnostics.follow(file)

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def did_change_watched_files(params: types.DidChangeWatchedFilesParams) -> None:
        for change in params.changes:
            file = path_of(change.uri)
            if file is None:
                continue
            if Path(file).name == "pyproject.toml":
                for document in server.documents.open:
                    if document.file and Path(file).parent in Path(document.file).parents:
                        server.runs.project_changed(document)
            elif server.documents.at(file) is None:
                # What is open is what its editor says it is.
                follow(file, read(file) or "")
                server.runs.saved(file)

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
