"""The state machine of a worker, with a process that does only what the tests say."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from handlens.switches import Workers
from handlens.workers.client import Environment, Worker, WorkerUnusable
from handlens_server.worker import host
from handlens_server.worker.host import Host, State
from handlens_server.worker.pool import Pool


class FakeWorker:
    """Starts when it is told to."""

    def __init__(self) -> None:
        self.alive = True

    async def close(self) -> None:
        self.alive = False


Start = asyncio.Future[tuple[FakeWorker, Environment]]


class Starts:
    """Every start that was asked for; a test lets them succeed or fail."""

    def __init__(self) -> None:
        self.asked: list[Start] = []
        self._arrived = asyncio.Event()

    async def start(
        self,
        interpreter: str,
        on_output: Callable[[str], None],
        cwd: str | None = None,
        workers: Workers = "auto",
    ) -> tuple[FakeWorker, Environment]:
        start: Start = asyncio.get_running_loop().create_future()
        self.asked.append(start)
        self._arrived.set()
        return await start

    async def next(self) -> Start:
        await asyncio.wait_for(self._arrived.wait(), 10)
        self._arrived.clear()
        return self.asked[-1]

    def ready(self, start: Start, torch: str = "2.13.0") -> FakeWorker:
        worker = FakeWorker()
        start.set_result((worker, Environment("python", "3.12.1", torch, "0.18.0")))
        return worker


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    starts = Starts()
    monkeypatch.setattr(Worker, "start", starts.start)
    return starts


async def test_runs_share_one_start(starts: Starts) -> None:
    made = Host("python", "/", print)
    assert made.state is State.IDLE
    waiting = [asyncio.create_task(made.worker()) for _ in range(3)]
    start = await starts.next()
    assert made.state is State.STARTING
    worker = starts.ready(start)
    assert await asyncio.gather(*waiting) == [worker] * 3
    assert made.state is State.READY
    assert await made.worker() is worker
    assert len(starts.asked) == 1


async def test_a_cancelled_run_leaves_the_start_to_the_next(starts: Starts) -> None:
    made = Host("python", "/", print)
    first = asyncio.create_task(made.worker())
    start = await starts.next()
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(made.worker())
    worker = starts.ready(start)
    assert await second is worker
    assert len(starts.asked) == 1


async def test_an_unusable_interpreter_is_tried_again(starts: Starts) -> None:
    made = Host("python", "/", print)
    first = asyncio.create_task(made.worker())
    (await starts.next()).set_exception(WorkerUnusable("no torch"))
    with pytest.raises(WorkerUnusable, match="no torch"):
        await first
    assert made.state is State.UNUSABLE
    second = asyncio.create_task(made.worker())
    starts.ready(await starts.next())
    assert (await second).alive


async def test_a_dead_worker_is_replaced(starts: Starts) -> None:
    made = Host("python", "/", print)
    first = asyncio.create_task(made.worker())
    dead = starts.ready(await starts.next())
    await first
    dead.alive = False
    second = asyncio.create_task(made.worker())
    starts.ready(await starts.next())
    assert await second is not dead


async def test_closing_ends_the_worker_also_while_it_starts(starts: Starts) -> None:
    started, starting = Host("python", "/", print), Host("python", "/", print)
    first = asyncio.create_task(started.worker())
    worker = starts.ready(await starts.next())
    await first
    await started.close()
    assert not worker.alive
    second = asyncio.create_task(starting.worker())
    start = await starts.next()
    await starting.close()
    assert start.cancelled()
    assert started.state is starting.state is State.CLOSED
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_the_pool_has_one_worker_for_an_interpreter_and_a_folder_and_complains_once(
    starts: Starts,
) -> None:
    complaints: list[str] = []
    pool = Pool(print, complaints.append)
    for _ in range(2):
        asked = asyncio.create_task(pool.worker("/a/python", "/root", "auto"))
        (await starts.next()).set_exception(WorkerUnusable("no torch"))
        with pytest.raises(WorkerUnusable):
            await asked
    assert complaints == ["no torch"]

    asked = asyncio.create_task(pool.worker("/a/python", "/root", "auto"))
    worker = starts.ready(await starts.next())
    assert await asked is worker
    assert await pool.worker("/a/python", "/root", "auto") is worker
    other = asyncio.create_task(pool.worker("/a/python", "/other", "auto"))
    starts.ready(await starts.next())
    assert await other is not worker

    otherwise = asyncio.create_task(pool.worker("/a/python", "/root", "standby"))
    replacement = starts.ready(await starts.next())
    assert await otherwise is replacement
    assert not worker.alive

    await pool.close()
    assert not replacement.alive


async def test_a_worker_that_keeps_dying_is_not_started_at_once(
    starts: Starts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host, "_LONGEST_PAUSE_S", 0.01)
    caplog.set_level(logging.INFO, host.logger.name)
    made = Host("python", "/", print)
    for deaths in range(4):
        asking = asyncio.create_task(made.worker())
        worker = starts.ready(await starts.next())
        assert await asking is worker
        states = [each.getMessage().split(". ")[0] for each in caplog.records]
        waited = ["worker python in / is waiting"] if deaths > 1 else []
        assert states == [*waited, "worker python in / is starting", "worker python in / is ready"]
        caplog.clear()
        worker.alive = False


async def test_versions_that_were_never_tested_are_told_with_every_start(
    starts: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    pool = Pool(print, print)
    assert pool.remarks("/root") == ()
    asked = asyncio.create_task(pool.worker("/a/python", "/root", "auto"))
    starts.ready(await starts.next(), torch="9.9.0")
    await asked
    (remark,) = pool.remarks("/root")
    assert remark.startswith("torch 9.9.0 is untested: ")
    assert await pool.worker("/a/python", "/root", "auto")
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.getMessage() == f"/a/python: {remark}"
    assert pool.remarks("/elsewhere") == ()
