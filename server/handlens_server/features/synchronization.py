"""textDocument/didOpen, didChange, didSave, didClose: when a document is run, how its results move with
edits, and when they are forgotten."""

from __future__ import annotations

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
            server.runs.start(document)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: types.DidChangeTextDocumentParams) -> None:
        document = server.documents.find(params.text_document.uri)
        if document is not None and document.file is not None:
            follow(document.file, document.source)

    def follow(file: str, text: str) -> None:
        """Let what is shown in a file follow its text."""
        for result in server.results.at(file):
            result.move_to(file, text)
        server.diagnostics.follow(file)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def did_save(params: types.DidSaveTextDocumentParams) -> None:
        saved = server.documents.find(params.text_document.uri)
        if saved is None or saved.file is None:
            return
        # A run reads the other files of its model from disk: those that read this one start anew.
        concerned = {result.run.uri for result in server.results.at(saved.file)} | {saved.uri}
        for document in server.documents.open:
            if document.uri in concerned:
                server.runs.update(document, saved.file)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        server.runs.forget(uri)
        server.diagnostics.forget(uri)
        if (file := to_fs_path(uri)) is not None:
            # What runs of other files found here stays, under the uri of a closed file.
            follow(file, read(file) or "")
