"""The progress of a run, with clients that are slow, refuse, or cancel."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from pygls.exceptions import JsonRpcInternalError

from handlens_server.progress import RunProgress


class FakeProgress:
    """pygls' progress, with a client that answers when the test says so."""

    def __init__(self) -> None:
        self.tokens: dict[Any, Any] = {}
        self.sent: list[Any] = []
        self.answer = asyncio.get_running_loop().create_future()

    async def create_async(self, token: str) -> None:
        await self.answer
        self.tokens[token] = Future()

    def begin(self, token: str, value: Any) -> None:
        self.sent.append(value)

    report = end = begin


@pytest.fixture
async def server() -> SimpleNamespace:
    tasks = []
    return SimpleNamespace(
        client=SimpleNamespace(progress=True),
        work_done_progress=FakeProgress(),
        tasks=tasks,
        spawn=lambda work: tasks.append(asyncio.ensure_future(work)),
    )


async def test_it_begins_with_the_stage_that_the_run_has_come_to(server: Any) -> None:
    async with RunProgress(server, "handlens_a", cancel=lambda: None) as progress:
        progress.stage("export")
        server.work_done_progress.answer.set_result(None)
        await asyncio.gather(*server.tasks)
        progress.stage("compare")
    begin, report, end = server.work_done_progress.sent
    assert (begin.title, begin.message) == ("Handlens: handlens_a", "exporting")
    assert (report.message, end.kind) == ("comparing", "end")
    assert begin.percentage < report.percentage
    assert not server.work_done_progress.tokens


async def test_a_client_that_answers_after_the_end_shows_nothing(server: Any) -> None:
    async with RunProgress(server, "handlens_a", cancel=lambda: None):
        pass
    server.work_done_progress.answer.set_result(None)
    await asyncio.gather(*server.tasks)
    assert not server.work_done_progress.sent
    assert not server.work_done_progress.tokens


async def test_a_client_that_refuses_does_not_disturb_the_run(server: Any) -> None:
    async with RunProgress(server, "handlens_a", cancel=lambda: None) as progress:
        server.work_done_progress.answer.set_exception(JsonRpcInternalError("no"))
        await asyncio.gather(*server.tasks)
        progress.stage("compare")
    assert not server.work_done_progress.sent


async def test_the_button_cancels_the_run_and_the_end_does_not(server: Any) -> None:
    cancelled = []
    async with RunProgress(server, "handlens_a", cancel=lambda: cancelled.append(True)):
        server.work_done_progress.answer.set_result(None)
        await asyncio.gather(*server.tasks)
        assert not cancelled
        [token] = server.work_done_progress.tokens.values()
        token.cancel()
    assert cancelled == [True]
