"""pygls' protocol with its documents, what it asks of messages, and what it keeps of them put right."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pygls.protocol import LanguageServerProtocol

from handlens_server.documents import Documents


class Protocol(LanguageServerProtocol):
    """The protocol of one client."""

    def use_documents(self) -> None:
        """Put our workspace in the place of the one that pygls makes on ``initialize``."""
        made = self.workspace
        self._workspace = Documents(
            made.root_uri,
            workspace_folders=list(made.folders.values()),
            position_encoding=made.position_encoding,
        )

    def structure_message(self, data: dict[str, Any]) -> Any:
        # What needs no parameters need not have any; pygls asks for them where the method is our own.
        if "method" in data:
            data.setdefault("params", None)
        return super().structure_message(data)

    def _execute_handler(
        self,
        msg_id: str | int,
        handler: Callable[..., Any],
        callback: Callable[[Future[Any]], None],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        super()._execute_handler(msg_id, handler, callback, args, kwargs)
        # pygls forgets the future of a request once it is answered, and that of a notification
        # never: one for each keystroke.
        future = self._request_futures.get(msg_id)
        if future is not None and future.done():
            del self._request_futures[msg_id]
