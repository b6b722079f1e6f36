"""Messages, and what stays of them once they are handled."""

import io

from lsprotocol import types
from pygls.io_ import StdoutWriter

from handlens_server.server import create_server
from handlens_server.text.documents import Document


async def test_nothing_is_kept_of_a_message_once_it_is_handled():
    server = create_server()
    server.protocol.set_writer(StdoutWriter(io.BytesIO()))
    initialize = types.InitializeParams(types.ClientCapabilities(), root_uri="file:///project")
    server.protocol.handle_message(types.InitializeRequest(1, initialize))
    item = types.TextDocumentItem("file:///project/notes.txt", "plaintext", 1, "a")
    server.protocol.handle_message(
        types.DidOpenTextDocumentNotification(types.DidOpenTextDocumentParams(item))
    )
    for version in range(2, 100):
        server.protocol.handle_message(
            types.DidChangeTextDocumentNotification(
                types.DidChangeTextDocumentParams(
                    types.VersionedTextDocumentIdentifier(version, item.uri),
                    [types.TextDocumentContentChangeWholeDocument("b" * version)],
                )
            )
        )
    document = server.state.documents.find(item.uri)
    assert isinstance(document, Document)
    assert (document.version, document.source) == (99, "b" * 99)
    assert not server.protocol._request_futures


async def test_an_exception_in_a_handler_shows_no_message_box():
    server = create_server()
    sent = io.BytesIO()
    server.protocol.set_writer(StdoutWriter(sent))
    server.report_server_error(ValueError("boom"), ValueError)
    assert sent.getvalue() == b""
