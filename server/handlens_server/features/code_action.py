"""textDocument/codeAction: rerun the comparison of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lsprotocol import types

from handlens_server.discovery import discover
from handlens_server.features import diagnostics, execute_command

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer

TITLE = "Rerun the quantization comparison"
RERUN = "source.handlens.rerun"


def register(server: HandlensServer) -> None:
    """Register the handler."""

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix, RERUN]),
    )
    def code_action(
        params: types.CodeActionParams,
    ) -> list[types.Command | types.CodeAction] | None:
        document = server.documents.find(params.text_document.uri)
        if document is None or document.file is None or not document.is_python:
            return None
        ours = [each for each in params.context.diagnostics if each.source == diagnostics.SOURCE]
        if not ours and not discover(document.source, document.file).found:
            return None
        command = types.Command(TITLE, execute_command.RERUN, arguments=[document.uri])
        if not server.client.code_action_literals:
            return [command]
        actions = [types.CodeAction(TITLE, kind=RERUN, command=command)]
        if ours:
            quickfix = types.CodeActionKind.QuickFix
            actions.insert(
                0, types.CodeAction(TITLE, kind=quickfix, diagnostics=ours, command=command)
            )
        return [each for each in actions if _asked_for(each.kind or "", params.context.only)]


def _asked_for(kind: str, only: Sequence[str] | None) -> bool:
    """Whether a client that asks for some kinds, or for all (None), asks for this one."""
    return only is None or any(kind == each or kind.startswith(each + ".") for each in only)
