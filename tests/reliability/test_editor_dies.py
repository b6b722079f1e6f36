"""However the editor ends: the server, its worker, its runs and what those have started are gone within
five seconds."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from tests.reliability.session import MARK, STANDBY, environment, eventually, marked
from tests.server.conftest import GUARD_S, SOURCES, Client

pytestmark = pytest.mark.skipif(
    "sys.platform != 'linux'", reason="what it starts is ended on Linux"
)

PROMISED_S = 5

# A run that goes on, and children of all kinds.
STARTS = """\
import signal, subprocess
alive = open({pipe!r}, "w")
for new_session in (False, True):
    subprocess.Popen(["sleep", "1000"], start_new_session=new_session)
subprocess.run(["sh", "-c", "setsid sleep 1000 &"])
print("begun", file=alive, flush=True)
signal.pause()
"""


@dataclass
class Editor:
    """A client whose server has a run that goes on."""

    client: Client
    process: asyncio.subprocess.Process
    """Whose end the server is to watch."""
    mark: str

    async def is_gone(self) -> int:
        """Wait for the end of all that was started, for as long as is promised; how the server ended."""
        server, ours = self.client.process, (self.process.pid, self.client.process.pid)
        # For the server, our child, asyncio waits; who else does may take its status away.
        started = [each for each in marked(self.mark) if each.pid not in ours]
        status, (_, alive) = await asyncio.gather(
            asyncio.wait_for(server.wait(), PROMISED_S),
            asyncio.to_thread(psutil.wait_procs, started, PROMISED_S),
        )
        assert not alive
        assert not [each for each in marked(self.mark) if each.pid != self.process.pid]
        return status


@pytest_asyncio.fixture
async def editor(serving: Callable[..., Any], tmp_path: Path, model: str) -> AsyncIterator[Editor]:
    pipe, mark = tmp_path / "alive", str(uuid.uuid4())
    os.mkfifo(pipe)
    with environment({MARK: mark}):
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        async with serving(tmp_path, process_id=process.pid) as client:
            client.open("starts.py", STARTS.format(pipe=str(pipe)) + model)
            with await asyncio.wait_for(asyncio.to_thread(pipe.open), GUARD_S) as alive:
                assert await asyncio.to_thread(alive.readline) == "begun\n"
                # The editor, the server, the worker, the run, and three that it started. Where interpreters
                # stand by, each has a process that sees to its end.
                # The next interpreter is started as the run begins.
                await eventually(lambda: len(marked(mark)) == (9 if STANDBY else 7))
                yield Editor(client, process, mark)
    if process.returncode is None:
        process.kill()
    await process.wait()


async def _closes_the_pipe(editor: Editor) -> None:
    assert editor.client.process.stdin is not None
    editor.client.process.stdin.close()


async def _exits(editor: Editor) -> None:
    editor.client.exit(None)


async def _shuts_down_and_exits(editor: Editor) -> None:
    await editor.client.shutdown_async(None)
    editor.client.exit(None)


async def _is_killed(editor: Editor) -> None:
    # Its pipes stay open: they are ours.
    editor.process.kill()


async def _kills_the_server(editor: Editor) -> None:
    editor.client.process.kill()


async def _kills_the_worker(editor: Editor) -> None:
    for worker in psutil.Process(editor.client.process.pid).children():
        worker.kill()
    editor.client.exit(None)


WAYS: dict[str, tuple[Callable[[Editor], Awaitable[None]], int]] = {
    "closes the pipe": (_closes_the_pipe, 1),
    "exits without shutdown": (_exits, 1),
    "shuts down and exits": (_shuts_down_and_exits, 0),
    "is killed": (_is_killed, 1),
    "kills the server": (_kills_the_server, -9),
    "kills the worker and exits": (_kills_the_worker, 1),
}


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_stays_when_an_editor(editor: Editor, way: str) -> None:
    end, status = WAYS[way]
    await end(editor)
    assert await editor.is_gone() == status


async def test_a_worker_that_starts_ends_with_its_server(
    serving: Callable[..., Any], tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path) as client:
        client.open("model.py", model)
        server = psutil.Process(client.process.pid)
        await eventually(server.children)
        await client.until_said("is starting")
        started = server.children(recursive=True)
        server.kill()
        assert not (await asyncio.to_thread(psutil.wait_procs, started, PROMISED_S))[1]


async def test_a_server_whose_answers_nobody_reads_ends_with_its_editor(tmp_path: Path) -> None:
    def message(method: str, **more: object) -> bytes:
        body = json.dumps({"jsonrpc": "2.0", "method": method, **more}).encode()
        return b"Content-Length: %d\r\n\r\n" % len(body) + body

    editor = await asyncio.create_subprocess_exec("sleep", "1000")
    server = subprocess.Popen(
        [sys.executable, "-m", "handlens_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SOURCES},
    )
    try:
        assert server.stdin is not None
        assert server.stdout is not None
        params: dict[str, Any] = {"processId": editor.pid, "rootUri": None, "capabilities": {}}
        server.stdin.write(message("initialize", id=0, params=params))
        for number in range(1, 801):
            server.stdin.write(message("no/such/thing", id=number))
        server.stdin.flush()
        unread, full = server.stdout.fileno(), fcntl.fcntl(server.stdout, fcntl.F_GETPIPE_SZ)

        def is_full() -> bool:
            [there] = struct.unpack("i", fcntl.ioctl(unread, termios.FIONREAD, b"    "))
            return there > full - 4096

        await eventually(is_full)
        editor.kill()
        await editor.wait()
        assert await asyncio.to_thread(server.wait, PROMISED_S) == 1
    finally:
        server.kill()
        server.communicate()
