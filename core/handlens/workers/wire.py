"""The messages between a worker and its client: one JSON object a line, on private pipes.

To the worker       {"run": id, "request": {…}}    {"cancel": id}
                    {"interrupt": id}: let the run die, and say on which line it was
From the worker     {"event": "ready", "python": …, "torch": …, "torchao": …}
                    {"event": "unusable", "message": …}, and it exits
                    {"event": "stage", "run": id, "stage": name}
                    {"event": "note", "run": id, "note": text}: something that people should know
                    {"event": "held", "run": id, "process": id}, from a run to the worker alone: the
                        run holds its export, and that process goes on from there
                    {"event": "outdated", "run": id}, likewise: the held export is of no use any more
                    {"event": "idle", "run": id}, likewise: the run waits for another request
    and, to end     {"event": "report", "run": id, "report": {…}}
    each run, one   {"event": "died", "run": id, "reason": …, "line": span or null, "stack": …}
    of              {"event": "cancelled", "run": id}
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any


def ending(status: int) -> str:
    """How a process ended, from its exit status; negative if that was a signal."""
    if status >= 0:
        return f"ended with exit status {status}"
    # The real-time signals have no names.
    name = next((each.name for each in signal.Signals if each == -status), f"signal {-status}")
    by_the_system = ", as the system does when memory is short" if name == "SIGKILL" else ""
    return f"was killed by {name}{by_the_system}"


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except RecursionError as error:
        raise ValueError(f"not a message: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise ValueError(f"not a message: {line[:80]!r}")
    return message


def write(pipe: int, message: dict[str, Any]) -> None:
    write_line(pipe, encode(message).removesuffix(b"\n"))


def write_line(pipe: int, line: bytes) -> None:
    data = memoryview(line + b"\n")
    while data:
        data = data[os.write(pipe, data) :]
