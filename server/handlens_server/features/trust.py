"""Whether the user trusts the workspace: an initialization option, and ``handlens/didGrantTrust``.

As long as it is not trusted no code of it is run, for whatever client, and no interpreter that it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer

OPTION = "workspaceTrusted"
GRANTED = "handlens/didGrantTrust"
NOT_TRUSTED = "Handlens runs no code of a workspace that is not trusted. Trust it to compare."


def is_given(options: object) -> bool:
    """Whether a client that starts with these options lets code be run; one that says nothing does."""
    return not (isinstance(options, dict) and options.get(OPTION) is False)


def register(server: HandlensServer) -> None:
    """Register the handler."""

    @server.feature(GRANTED)
    def granted(params: Any) -> None:
        if not server.trusted:
            server.trusted = True
            for document in server.documents.open:
                server.runs.open(document)
            server.refresh()
