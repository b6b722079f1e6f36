"""A server process, spoken to in bytes: for what no client library would send."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.server.conftest import SOURCES

Json = dict[str, Any]

GUARD_S = 20
"""Nothing that the server is asked for here takes as long."""


class Wire:
    """A server that has been started, and initialized unless it is told not to be.

    The workspace is not trusted: nothing is run, and there is no worker.
    """

    def __init__(
        self,
        root: Path,
        initialized: bool = True,
        command: Sequence[str] = (sys.executable, "-m", "handlens_server"),
    ) -> None:
        self.notifications: list[Json] = []
        self.refusals: list[int] = []
        """The codes of the errors that answer what had no id to be read."""
        self._id = 1_000_000
        self._answers: dict[Any, Json] = {}
        self._arrived: queue.Queue[Json | None] = queue.Queue()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": SOURCES},
            cwd=root,
        )
        threading.Thread(target=self._read, daemon=True).start()
        if initialized:
            options = {"workspaceTrusted": False}
            params = {
                "capabilities": {},
                "rootUri": root.as_uri(),
                "initializationOptions": options,
            }
            assert "result" in self.ask("initialize", params)
            self.tell("initialized", {})

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def say(self, message: object) -> None:
        """Send something as the body of a message."""
        self.send(framed(json.dumps(message).encode()))

    def tell(self, method: str, params: object) -> None:
        self.say({"jsonrpc": "2.0", "method": method, "params": params})

    def request(self, method: str, params: object) -> int:
        """Ask without waiting for the answer; the id to ask for it by."""
        self._id += 1
        self.say({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        return self._id

    def ask(self, method: str, params: object) -> Json:
        return self.answer(self.request(method, params))

    def answer(self, identifier: object) -> Json:
        """The answer to a request, as soon as it is there."""
        while identifier not in self._answers:
            message = self._arrived.get(timeout=GUARD_S)
            assert message is not None, f"the server ended with {self._process.wait()}"
            if "method" in message:
                self.notifications.append(message)
            elif message["id"] is None:
                self.refusals.append(message["error"]["code"])
            else:
                assert message["id"] not in self._answers, "answered twice"
                self._answers[message["id"]] = message
        return self._answers.pop(identifier)

    def open(self, uri: str, text: str, version: int = 1) -> None:
        item = {"uri": uri, "languageId": "python", "version": version, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": item})

    def targets(self, uri: str) -> list[str]:
        """The names of the targets that the server sees in a document."""
        command = {"command": "handlens.server.showTargets", "arguments": [uri]}
        return [each["name"] for each in self.ask("workspace/executeCommand", command)["result"]]

    def ended(self) -> int:
        """The exit status, once there is one."""
        return self._process.wait(GUARD_S)

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        while header := stdout.readline():
            name, _, value = header.partition(b":")
            if name == b"Content-Length":
                length = int(value)
            elif not header.strip():
                self._arrived.put(json.loads(stdout.read(length)))
        self._arrived.put(None)


def framed(body: bytes) -> bytes:
    """The bytes of a message."""
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
