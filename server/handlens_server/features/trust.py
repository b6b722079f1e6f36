"""Whether the user trusts the workspace: an initialization option, and ``handlens/didGrantTrust``.

As long as it is not trusted no code of it is run, for whatever client, and no interpreter that it names.
"""

from __future__ import annotations

from typing import Any

from pygls.lsp.server import LanguageServer

from handlens_server.runs.triggers import Triggers
from handlens_server.state import State

OPTION = "workspaceTrusted"
GRANTED = "handlens/didGrantTrust"


def is_given(options: object) -> bool:
    """True if a client that starts with these options lets code be run; one that says nothing does."""
    return not (isinstance(options, dict) and options.get(OPTION) is False)


def register(server: LanguageServer, state: State, triggers: Triggers) -> None:
    """Register the handler."""

    @server.feature(GRANTED)
    def granted(params: Any) -> None:
        if not state.trusted:
            state.trusted = True
            for document in state.documents.open:
                triggers.opened(document)
            state.events.numbers_changed()
