"""The worker process: runs are apart from each other and from us, and can be killed at any moment."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from handlens.client import Worker, WorkerUnusable
from handlens.protocol import RunRequest
from handlens.report import Report
from handlens.targets import Target, discover

MODEL = """\
import torch, sys, os
def handlens_main():
    return torch.nn.Linear(4, 4), (torch.randn(2, 4),)
"""


class Running:
    """A worker and what it printed."""

    def __init__(self) -> None:
        self.output: list[str] = []
        self.worker: Worker

    async def run(self, text: str, stages: list[str] | None = None) -> Report:
        target = next(
            iter(discover(text, "model.py")), Target("handlens_main", "function", "model.py")
        )
        return await self.worker.run(RunRequest(target, text), (stages or []).append)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Running]:
    running = Running()
    running.worker, environment = await Worker.start(sys.executable, running.output.append)
    assert environment.torch.startswith("2.")
    yield running
    await running.worker.close()
    assert not running.worker.alive


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_run_gives_a_report_and_tells_its_stages(running: Running) -> None:
    stages: list[str] = []
    target = discover(MODEL, "model.py")[0]
    report = await running.worker.run(RunRequest(target, MODEL), stages.append)
    assert report.status == "ok", report.error
    assert stages == ["load", "export", "quantize", "compare"]


async def test_no_state_leaks_from_one_run_to_the_next(running: Running) -> None:
    leaving = MODEL + "torch.leaked = 1\nos.environ['LEAKED'] = '1'\n"
    assert (await running.run(leaving)).status == "ok"
    looking = MODEL + "assert not hasattr(torch, 'leaked') and 'LEAKED' not in os.environ\n"
    assert (await running.run(looking)).status == "ok"


@pytest.mark.parametrize(
    ("death", "said"),
    [
        ("os._exit(7)", "exit status 7"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ],
)
async def test_a_run_that_dies_is_a_report_and_the_next_is_fine(
    running: Running, death: str, said: str
) -> None:
    report = await running.run(MODEL + death)
    assert report.status == "failed"
    assert report.error is not None
    assert report.error.rule == "HL304"
    assert said in report.error.message
    assert (await running.run(MODEL)).status == "ok"


async def test_what_the_user_prints_never_reaches_the_protocol(running: Running) -> None:
    report = await running.run(MODEL + "print('{\"event\": 1}'); os.write(1, b'raw\\n')\n")
    assert report.status == "ok"
    assert {'{"event": 1}', "raw"} <= set(running.output)


async def test_the_user_has_no_standard_input(running: Running) -> None:
    assert (await running.run(MODEL + "assert sys.stdin.read() == ''\n")).status == "ok"


async def test_a_cancelled_run_is_killed_with_what_it_started(
    running: Running, tmp_path: Path
) -> None:
    fifo = tmp_path / "alive"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    # Both the run and its child hold the pipe open; reading it ends when both are gone.
    text = MODEL + (
        "import subprocess, time\n"
        f"pipe = open({str(fifo)!r}, 'w')\n"
        "subprocess.Popen(['sleep', '1000'], pass_fds=[pipe.fileno()])\n"
        "pipe.write('started\\n'); pipe.flush()\n"
        "while True: pass\n"
    )
    task = asyncio.create_task(running.run(text))
    reader = await asyncio.to_thread(open, fifo)
    assert await asyncio.to_thread(reader.readline) == "started\n"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(asyncio.to_thread(reader.read), 10) == ""
    reader.close()
    assert (await running.run(MODEL)).status == "ok"


async def test_an_interpreter_without_torch_says_what_to_install(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    with pytest.raises(WorkerUnusable, match=r"torch is not installed.*pip install torch torchao"):
        await Worker.start(str(tmp_path / "bin" / "python"), lambda line: None)


async def test_an_interpreter_that_is_none_says_so() -> None:
    with pytest.raises(WorkerUnusable, match="/no/such/python"):
        await Worker.start("/no/such/python", lambda line: None)


async def test_the_worker_needs_nothing_but_torch_and_torchao() -> None:
    script = (
        "import sys, handlens.worker, handlens.session\n"
        "ours = {'pygls', 'lsprotocol', 'click', 'rich', 'handlens_server'}\n"
        "print(sorted(ours & {name.split('.')[0] for name in sys.modules}))"
    )
    core = Path(__file__).parents[2] / "core"
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(core)},
    )
    assert done.stdout.strip() == "[]"


async def test_a_process_that_a_run_leaves_behind_does_not_hold_up_closing(tmp_path: Path) -> None:
    fifo = tmp_path / "left"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    worker, _ = await Worker.start(sys.executable, lambda line: None)
    # The child inherits standard error, and lives in a session of its own until the pipe is opened.
    text = MODEL + (
        f"import subprocess\nsubprocess.Popen(['cat', {str(fifo)!r}], start_new_session=True)\n"
    )
    report = await worker.run(RunRequest(discover(MODEL, "model.py")[0], text), lambda stage: None)
    assert report.status == "ok"
    try:
        await asyncio.wait_for(worker.close(), 30)
    finally:
        fifo.open("w").close()


async def test_a_line_that_is_no_event_ends_nothing(running: Running) -> None:
    # The user's code can find the pipe of its run, and write to it what it likes.
    text = MODEL + (
        "import stat\n"
        "for fd in range(3, 30):\n"
        "    try:\n"
        "        if not stat.S_ISFIFO(os.fstat(fd).st_mode): continue\n"
        '        os.write(fd, b\'{"event": "report"}\\nnoise\\n\')\n'
        "    except OSError: pass\n"
    )
    assert (await running.run(text)).status in ("ok", "failed")
    assert (await running.run(MODEL)).status == "ok"
