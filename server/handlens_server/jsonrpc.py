"""pygls' protocol with its documents, what it asks of messages, and what it keeps of them put right."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidRequest,
    JsonRpcParseError,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol

from handlens_server.text.documents import Documents

logger = logging.getLogger(__name__)


class Protocol(LanguageServerProtocol):
    """The protocol of one client."""

    def receive(self, body: bytes) -> None:
        """Take one message. What is no message, or has the wrong parameters, is answered with an error."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            self._refuse(None, JsonRpcParseError.of(error))
            return
        if not isinstance(data, dict) or data.get("jsonrpc") != self.VERSION:
            self._refuse(
                None, JsonRpcInvalidRequest("Invalid Request: not a message of JSON-RPC 2.0")
            )
            return
        identifier = data.get("id")
        if "id" in data and type(identifier) not in (int, str):
            self._refuse(
                None, JsonRpcInvalidRequest("Invalid Request: the id is no number or text")
            )
            return
        try:
            message = self.structure_message(data)
        except JsonRpcException as error:
            if identifier is None:
                logger.warning("%s is ignored: %s", data.get("method"), error)
            elif "method" in data:
                self._refuse(identifier, error)
            else:
                # One of our requests waits for this answer, such as it is.
                self._handle_response(identifier, error=error.to_response_error())
            return
        if "method" in data and identifier is not None and not hasattr(message, "id"):
            self._refuse(identifier, JsonRpcInvalidRequest(f"{data['method']} is no request"))
            return
        self.handle_message(message)

    def handle_message(self, message: Any) -> None:
        """Handle a message, unless this is not the time for it."""
        method = getattr(message, "method", None)
        error: JsonRpcException | None = None
        if method is not None and method != types.EXIT:
            if self._shutdown:
                error = JsonRpcInvalidRequest("Invalid Request: the server is shutting down")
            elif self._workspace is None and method != types.INITIALIZE:
                error = JsonRpcServerNotInitialized()
            elif self._workspace is not None and method == types.INITIALIZE:
                error = JsonRpcInvalidRequest("Invalid Request: the server is initialized already")
        if error is None:
            super().handle_message(message)
        elif hasattr(message, "id"):
            self._refuse(message.id, error)
        else:
            logger.warning("%s is ignored: %s", method, error)

    def _refuse(self, identifier: int | str | None, error: JsonRpcException) -> None:
        logger.warning("message %s: %s", identifier, error)
        # lsprotocol leaves an id of null out, which JSON-RPC asks for where there is none to be read.
        answer = {"code": error.code, "message": error.message}
        self._send_data({"jsonrpc": self.VERSION, "id": identifier, "error": answer})

    def use_documents(self) -> Documents:
        """Put our documents in the place of the workspace that pygls makes on ``initialize``."""
        made = self.workspace
        documents = Documents(
            made.root_uri,
            workspace_folders=list(made.folders.values()),
            position_encoding=made.position_encoding,
        )
        self._workspace = documents
        return documents

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
