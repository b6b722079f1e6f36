"""The messages between a worker and its client: one JSON object a line, on private pipes.

To a worker         {"run": id, "request": {…}}    {"cancel": id}
that forks          {"interrupt": id}: let the run die, and say on which line it was
To one that         {"run": id, "request": {…}, "deadline": seconds or null}: let the run die after these
stands by               seconds, and say on which line it was
From a worker       {"event": "ready", "process": id, "python": …, "torch": …, "torchao": …}
                    {"event": "unusable", "message": …}, and it exits
                    {"event": "stage", "run": id, "stage": name}
                    {"event": "progress", "run": id, "progress": {…}}: how far that stage is
                    {"event": "note", "run": id, "note": text}: something that people should know
                    {"event": "held", "run": id, "process": id, "model": digest or null}, from a run to the
                        worker that forks alone: the run holds its export, and that process goes on from it
                    {"event": "batches", "run": id}, likewise: the run has made the batches for an export
                        that another one holds
                    {"event": "outdated", "run": id}, likewise: the held export is of no use any more
                    {"event": "idle", "run": id}, likewise: the run waits for another request
                    {"event": "resumed", "run": id} or {"event": "outdated", "run": id}, from one that
                        stands by, which was asked for advice on what it has compared
    and, to end     {"event": "report", "run": id, "report": {…}, "held": true if advice can be asked for,
    each run, one       "decided_by": two digests if later runs may take the report over, else null}
    of              {"event": "died", "run": id, "reason": …, "line": span or null, "stack": …}
                    {"event": "cancelled", "run": id}
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict
from typing import Any

from handlens.report import Span

# On Windows, a process that the system kills has a status from here on.
_KILLED_ON_WINDOWS = 0xC0000000


def is_killed(status: int) -> bool:
    """True if a process was killed, by its exit status; negative if that was a signal."""
    return status < 0 or status >= _KILLED_ON_WINDOWS


def ending(status: int) -> str:
    """How a process ended, from its exit status; negative if that was a signal."""
    if status >= _KILLED_ON_WINDOWS:
        return f"was killed by the system with status {status:#x}"
    if status >= 0:
        return f"ended with exit status {status}"
    # The real-time signals have no names.
    name = next((each.name for each in signal.Signals if each == -status), f"signal {-status}")
    by_the_system = ", as the system does when memory is short" if name == "SIGKILL" else ""
    return f"was killed by {name}{by_the_system}"


LAST = ("report", "died", "cancelled")
"""The events that end a run."""


def died(run: int, reason: str, line: Span | None = None, stack: str = "") -> dict[str, Any]:
    """The event of a run that died without a report."""
    place = None if line is None else asdict(line)
    return {"event": "died", "run": run, "reason": reason, "line": place, "stack": stack}


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
