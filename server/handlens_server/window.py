"""What the client shows outside of the text: messages, lines of its log, and documents that it opens."""

from __future__ import annotations

import logging

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens.rendering.view import clean_lines
from handlens_server.capabilities import Capabilities

logger = logging.getLogger(__name__)


def inert(text: str) -> str:
    """Text for a message or a title, where VS Code makes links, also to commands, of ``[text](link)``."""
    return clean_lines(text).replace("](", "] (")


def show_message(server: LanguageServer, kind: types.MessageType, text: str) -> None:
    """Show a message to the user."""
    server.window_show_message(types.ShowMessageParams(kind, inert(text)))


def log_message(server: LanguageServer, kind: types.MessageType, text: str) -> None:
    """Write into the client's log."""
    server.window_log_message(types.LogMessageParams(kind, text))


async def show_document(
    server: LanguageServer,
    capabilities: Capabilities,
    uri: str,
    selection: types.Range | None = None,
    external: bool = False,
) -> None:
    """Open a document in the editor, or outside of it if ``external``.

    A client that cannot open documents shows a message with the uri.
    """
    if not capabilities.show_document:
        show_message(server, types.MessageType.Info, f"Handlens: {uri}")
        return
    try:
        await server.window_show_document_async(
            types.ShowDocumentParams(uri, external, take_focus=True, selection=selection)
        )
    except Exception as error:
        logger.warning("the client does not show %s: %s", uri, error)
