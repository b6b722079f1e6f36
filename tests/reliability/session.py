"""A working day's worth of runs in one server, and what is left of each of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

import psutil
import pytest
from lsprotocol import types

from handlens import switches
from tests.server.conftest import (
    GUARD_S,
    Client,
    OpenDocument,
    full_capabilities,
    serving_client,
)

MARK = "HANDLENS_TEST"
STANDBY = switches.workers() == "standby"
"""True if each run has an interpreter of its own (``--workers=standby``)."""
KEPT = "(found by the last run that worked)"

MODEL = """\
import atexit, ctypes, itertools, os, signal, subprocess, sys, tempfile, threading, time
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        pass  # running
        x = self.layer(x)
        return x.relu()


def batches():
    pass  # evaluating
    yield (torch.ones(2, 4),)


def handlens_tiny():
    pass  # building
    torch.manual_seed(1)
    return dict(model=Tiny(), example_inputs=(torch.ones(2, 4),), evaluation=batches())
"""


def with_code(code: str, where: str) -> str:
    """The model with some code executed while it is building, running (for the export) or evaluating."""
    before, placeholder, after = MODEL.partition(f"    pass  # {where}\n")
    assert placeholder
    margin = before[before.rfind("\n") + 1 :] + "    "
    return before[: before.rfind("\n") + 1] + indent(code.rstrip() + "\n", margin) + after


@dataclass(frozen=True)
class Footprint:
    """What a session takes of the machine while nothing is run."""

    processes: int
    server_files: int
    worker_files: tuple[str, ...]
    """What its file descriptors are, without numbers."""
    files: tuple[str, ...]
    """In the folder for temporary files and in that of the user."""


Seen = list[tuple[Any, str, str]]


class Session:
    """One document that is saved over and over again."""

    def __init__(
        self, client: Client, document: OpenDocument, mark: str, folders: list[Path]
    ) -> None:
        self.client = client
        self.document = document
        self._mark = mark
        self._folders = folders

    @property
    def _state(self) -> str:
        """The state of the target, as the client was told last."""
        told = self.client.statuses[-1:]
        return told[0].targets[0].state if told and told[0].targets else ""

    def configure(self, **settings: Any) -> None:
        self.client.configure(**settings)

    async def run(self, text: str) -> list[types.Diagnostic]:
        """What is shown once the run of a saved text has ended."""
        self.client.save(self.document, text)
        return await self.ended()

    async def ended(self) -> list[types.Diagnostic]:
        """What is shown once nothing is run any more."""
        # The answer comes after all that was said before it has been begun with.
        await self.client.execute("handlens.server.showTargets", self.document.uri)
        await self.client.until(lambda: self._state in ("ok", "failed"))
        return list(self.client.published[self.document.uri][-1].diagnostics)

    def seen(self, found: list[types.Diagnostic]) -> Seen:
        """Diagnostics by what they say of which text, wherever that is by now."""
        return [
            (each.code, each.message.replace("\n" + KEPT, ""), self.document.covered(each.range))
            for each in found
        ]

    def processes(self) -> list[psutil.Process]:
        """All that the session has started, wherever they have gone since."""
        return marked(self._mark)

    @property
    def server(self) -> psutil.Process:
        return psutil.Process(self.client.process.pid)

    @property
    def worker(self) -> psutil.Process:
        """The worker that forks, or the interpreter that stands by: what was started last."""
        return max(self.server.children(), key=psutil.Process.create_time)

    async def until_it_stands_by(self) -> psutil.Process:
        """The interpreter that stands by, as soon as it has imported torch."""
        found = self.worker
        await self.client.until_said(f"process {found.pid} stands by")
        return found

    def runs(self) -> list[psutil.Process]:
        """The processes of runs, with what they have started."""
        started = self.server.children(recursive=True)
        return [each for each in started if STANDBY or each != self.worker]

    def footprint(self) -> Footprint:
        return Footprint(
            len(self.processes()),
            self.server.num_fds(),
            tuple(sorted(_files(self.worker))),
            tuple(sorted(str(each) for folder in self._folders for each in folder.rglob("*"))),
        )

    async def settles(self, before: Footprint) -> Footprint:
        """The footprint, as soon as it is what it was before, or once it is clear that it will not be."""
        # Where interpreters stand by, the next one has to import torch first.
        guard_s = GUARD_S if STANDBY else 10
        with contextlib.suppress(AssertionError):
            await eventually(lambda: self.footprint() == before, guard_s)
        return self.footprint()


def _files(process: psutil.Process) -> Iterator[str]:
    folder = Path(f"/proc/{process.pid}/fd")
    for each in folder.iterdir():
        # One that was closed meanwhile is none.
        with contextlib.suppress(FileNotFoundError):
            yield re.sub(r"\d+", "", str(each.readlink()))


def marked(mark: str) -> list[psutil.Process]:
    """The processes that were started with a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


async def eventually(holds: Callable[[], object], guard_s: float = GUARD_S) -> None:
    """Wait for what the system tells nobody about."""

    async def wait() -> None:
        while not holds():
            await asyncio.sleep(0.01)

    try:
        await asyncio.wait_for(wait(), guard_s)
    except asyncio.TimeoutError:
        raise AssertionError("it never came to that") from None


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Start what is started in a block with some variables more."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextlib.asynccontextmanager
async def session(root: Path, **options: Any) -> AsyncIterator[Session]:
    """A session in which the model has been run once."""
    workspace, temporary = root / "workspace", root / "temporary"
    workspace.mkdir()
    temporary.mkdir()
    mark = str(uuid.uuid4())
    able = full_capabilities()
    able.experimental = {"handlens": {"status": True}}
    with environment({MARK: mark, "TMPDIR": os.fspath(temporary)}):
        async with serving_client(workspace, able, **options) as client:
            document = OpenDocument(workspace / "model.py", MODEL, client.encoding)
            made = Session(client, document, mark, [workspace, temporary])
            client.open("model.py", MODEL)
            await made.ended()
            yield made
