"""Interpreters that stand by: each runs one request, may go on to advise, and ends with its client."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

import handlens
from handlens.report import Report
from handlens.request import AdviceRequest, RunRequest
from handlens.targets import discover
from handlens.workers.client import Worker

PROMISED_S = 5

MODEL = """\
import os, torch
from torch import nn
{loading}
def handlens_main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    return model, (torch.linspace(-3, 3, 128).reshape(16, 8),)
"""

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif("sys.platform == 'win32'", reason="pipes with names"),
]


def asking(loading: str = "", **options: object) -> RunRequest:
    text = MODEL.format(loading=loading)
    request = RunRequest(discover(text, "model.py")[0], text, hold_export=True)
    return replace(request, **options)  # type: ignore[arg-type]


def for_advice(request: RunRequest) -> RunRequest:
    return replace(request, reuse_export=True, advise=AdviceRequest(most=1))


def measured(report: Report) -> Report:
    """The report without what a clock says."""
    assert report.advice is not None
    return replace(report, timings={}, advice=replace(report.advice, seconds=0))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    worker, _ = await Worker.start(sys.executable, lambda line: None, workers="standby")
    yield worker
    await worker.close()


async def run(worker: Worker, request: RunRequest) -> tuple[Report, list[str]]:
    stages: list[str] = []
    report = await worker.run(request, stages.append)
    assert report.status == "ok", report.error
    return report, stages


async def test_advice_goes_on_from_the_comparison_and_finds_what_one_run_of_both_finds(
    worker: Worker,
) -> None:
    request = asking()
    await run(worker, request)
    advised, stages = await run(worker, for_advice(request))
    assert stages == ["advise"]
    both, stages = await run(worker, replace(for_advice(request), reuse_export=False))
    assert stages == ["load", "export", "quantize", "compare", "advise"]
    assert measured(advised) == measured(both)


async def test_a_process_goes_on_once_and_with_the_same_request_only(worker: Worker) -> None:
    request = asking()
    await run(worker, request)
    other, stages = await run(worker, replace(for_advice(request), recipe="bf16"))
    assert stages[0] == "load"
    assert other.recipe == "bf16"
    _, stages = await run(worker, for_advice(request))
    assert stages[0] == "load"


async def test_advice_on_what_has_changed_since_begins_anew(worker: Worker, tmp_path: Path) -> None:
    file = tmp_path / "read.txt"
    file.write_text("before")
    request = asking(f"open({str(file)!r}).read()")
    await run(worker, request)
    file.write_text("afterwards")
    _, stages = await run(worker, for_advice(request))
    assert stages[0] == "load"


@pytest.mark.parametrize(
    "leaving",
    [
        "import subprocess; subprocess.Popen(['sleep', '1000'])",
        "import threading; threading.Thread(target=threading.Event().wait).start()",
    ],
)
async def test_a_process_in_which_something_goes_on_is_not_kept(
    worker: Worker, tmp_path: Path, leaving: str
) -> None:
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    opening = f"pipe = os.open({str(pipe)!r}, os.O_WRONLY)\nos.set_inheritable(pipe, True)\n"
    running = asyncio.create_task(worker.run(asking(opening + leaving), lambda stage: None))
    reader = await asyncio.to_thread(open, pipe)
    assert (await running).status == "ok"
    assert await asyncio.wait_for(asyncio.to_thread(reader.read), PROMISED_S) == ""
    reader.close()


@pytest.mark.skipif("sys.platform != 'linux'", reason="what has left its group is found on Linux")
async def test_what_has_left_its_group_and_its_environment_ends_with_a_cancelled_run(
    worker: Worker, tmp_path: Path
) -> None:
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    starts = (
        f"import subprocess\npipe = os.open({str(pipe)!r}, os.O_WRONLY)\n"
        "daemon = ['sh', '-c', 'setsid sleep 1000 &']\n"
        "subprocess.run(daemon, pass_fds=[pipe], env={'PATH': os.environ['PATH']})\n"
        "os.write(pipe, b'begun\\n')\nimport signal; signal.pause()\n"
    )
    running = asyncio.create_task(worker.run(asking(starts), lambda stage: None))
    reader = await asyncio.to_thread(open, pipe)
    assert await asyncio.to_thread(reader.readline) == "begun\n"
    running.cancel()
    assert await asyncio.wait_for(asyncio.to_thread(reader.read), PROMISED_S) == ""
    reader.close()


CLIENT = """\
import asyncio, sys
from handlens.request import RunRequest
from handlens.targets import discover
from handlens.workers.client import Worker
async def main():
    text = sys.argv[1]
    worker, _ = await Worker.start(sys.executable, lambda line: None, workers="standby")
    await worker.run(RunRequest(discover(text, "model.py")[0], text), lambda stage: None)
asyncio.run(main())
"""


async def test_a_run_that_holds_the_lock_of_python_ends_with_a_client_that_is_killed(
    tmp_path: Path,
) -> None:
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    # Nothing written in Python runs in that process any more.
    loop = "import itertools; sum(itertools.repeat(0))"
    text = MODEL.format(loading=f"pipe = open({str(pipe)!r}, 'w')\n{loop}\n")
    core = os.fspath(Path(handlens.__path__[0]).parent)
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, text], env={**os.environ, "PYTHONPATH": core}
    )
    reader = await asyncio.to_thread(open, pipe)
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert await asyncio.wait_for(asyncio.to_thread(reader.read), PROMISED_S) == ""
    reader.close()
