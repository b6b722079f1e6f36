"""workspace/executeCommand: rerun the comparison of a document, on its text of this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from handlens.targets import HOW_TO_DECLARE

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer

RERUN = "handlens.server.rerun"


def register(server: HandlensServer) -> None:
    """Register the handler. It returns at once; the run goes on."""

    @server.command(RERUN)
    def rerun(uri: str) -> None:
        document = server.documents.find(uri)
        if document is None:
            raise JsonRpcInvalidParams(f"{RERUN}: {uri} is not open")
        if not server.runs.start(document).found:
            server.window_show_message(
                types.ShowMessageParams(types.MessageType.Info, HOW_TO_DECLARE)
            )
