"""What a worker and its client say to each other: one JSON object a line, on private pipes.

To the worker       {"run": id, "request": {…}}    {"cancel": id}
From the worker     {"event": "ready", "python": …, "torch": …, "torchao": …}
                    {"event": "unusable", "message": …}, and it exits
                    {"event": "stage", "run": id, "stage": name}
                    {"event": "kept", "run": id, "process": id}, from a run to the worker alone:
                        its export is kept, and that process goes on from there
                    {"event": "outdated", "run": id}, likewise: what was kept is of no use any more
    and, to end     {"event": "report", "run": id, "report": {…}}
    each run, one   {"event": "died", "run": id, "reason": …}
    of              {"event": "cancelled", "run": id}
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from handlens.rules import ChosenThresholds
from handlens.targets import Target

STAGES = ("load", "export", "quantize", "compare")


@dataclass(frozen=True)
class RunRequest:
    """One target to run."""

    target: Target
    text: str | None = None
    """The text of the target's file as its editor has it; None to read it from disk."""
    recipe: str | None = None
    """Overrides the recipe that the target asks for."""
    default_recipe: str | None = None
    """For a target that asks for none."""
    workspace: tuple[str, ...] = ()
    """Folders whose files may show findings, beside the target's own file."""
    thresholds: tuple[ChosenThresholds, ...] = ()
    """What takes the place of the thresholds that suit the recipe, each over those before it."""
    unsaved: dict[str, str] = field(default_factory=dict)
    """The texts of other files, by their paths, that the disk does not have yet."""
    keep_export: bool = False
    """Whether to keep the exported model in memory, for another recipe."""
    reuse_export: bool = False
    """Whether to take the model that a run of the same text has kept, unless a file that it read is
    another one by now."""
    memory_limit_mib: int | None = None
    """What the run may take beyond the interpreter and torch; the allocation that exceeds it fails."""


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
