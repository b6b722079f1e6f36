"""textDocument/didOpen, didChange, didSave, didClose and workspace/didChangeWatchedFiles: when a document
is run, how its results move with edits, and when they are forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.uris import to_fs_path

from handlens_server.documents import read

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer


def register(server: HandlensServer) -> None:
    """Register the handlers.

    They are synchronous: pygls runs asynchronous ones in no set order, and the version and the text
    of a document have to be taken together.
    """

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: types.DidOpenTextDocumentParams) -> None:
        document = server.documents.find(params.text_document.uri)
        if document is not None and document.file is not None:
            # Runs of other files may have found something here; now the file has a version.
            follow(document.file, document.source)
            server.runs.open(document)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: types.DidChangeTextDocumentParams) -> None:
        document = server.documents.find(params.text_document.uri)
        if document is not None and document.file is not None:
            follow(document.file, document.source)
            server.runs.typed(document.file)

    def follow(file: str, text: str) -> None:
        """Let what is shown in a file follow its text."""
        for result in server.results.at(file):
            result.move_to(file, text)
        server.runs.follow(file)
        server.diagnostics.follow(file)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def did_save(params: types.DidSaveTextDocumentParams) -> None:
        saved = server.documents.find(params.text_document.uri)
        if saved is not None and saved.file is not None:
            server.runs.saved(saved.file)

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def did_change_watched_files(params: types.DidChangeWatchedFilesParams) -> None:
        for change in params.changes:
            file = to_fs_path(change.uri)
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

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        server.runs.forget(uri)
        server.diagnostics.forget(uri)
        if (file := to_fs_path(uri)) is not None:
            # What runs of other files found here stays, under the uri of a closed file.
            follow(file, read(file) or "")
