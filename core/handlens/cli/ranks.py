"""The place of this command among those that torchrun has started together."""

from __future__ import annotations

import functools
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from handlens.cli.ending import COULD_NOT_RUN, FINDINGS
from handlens.request import Shard


@dataclass(frozen=True)
class Rank:
    """One of several commands that share their runs."""

    number: int
    world_size: int

    def shard(self, run: int) -> Shard:
        """The part of this command in a run, by the number of the run."""
        return Shard(self.number, self.world_size, run)


@functools.cache
def rank() -> Rank | None:
    """The rank of this command; None if it is the only one."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    number, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return Rank(number, world_size) if world_size > 1 else None


def is_first() -> bool:
    """True if this is the only command, or the one of them that prints, writes, and has the exit status."""
    mine = rank()
    return mine is None or mine.number == 0


def tell_torchrun(status: int) -> None:
    """Let torchrun say what an exit status means: it reports any but 0 as a failure, and exits with 1."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    meaning = {FINDINGS: "there are findings", COULD_NOT_RUN: "it could not run"}.get(status)
    if rank() is None or file is None or meaning is None:
        return
    text = f"handlens exits with {status}: {meaning}. What rank 0 has printed says more."
    more = {"py_callstack": text, "timestamp": str(int(time.time()))}
    Path(file).write_text(json.dumps({"message": {"message": text, "extraInfo": more}}))
