"""The progress of a run, with clients that are slow, refuse, or cancel."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from pygls.exceptions import JsonRpcInternalError

from handlens.request import Progress as StageProgress
from handlens_server.capabilities import Capabilities
from handlens_server.features.progress import Progress, register
from handlens_server.results.result import Run
from handlens_server.runs.runs import Runs
from handlens_server.runs.searches import Searches
from handlens_server.runs.stages import STAGES, STARTING
from handlens_server.state import State


class FakeProgress:
    """pygls' progress, with a client that answers when the test says so."""

    def __init__(self) -> None:
        self.tokens: dict[Any, Any] = {}
        self.sent: list[Any] = []
        self.answer = asyncio.get_running_loop().create_future()
        self.answered = asyncio.Event()

    async def create_async(self, token: str) -> None:
        try:
            await self.answer
            self.tokens[token] = Future()
        finally:
            self.answered.set()

    async def reply(self, error: Exception | None = None) -> None:
        """Let the client answer, and wait until that has arrived."""
        if error is not None:
            self.answer.set_exception(error)
        elif not self.answer.done():
            self.answer.set_result(None)
        await self.answered.wait()
        self.answered.clear()

    def begin(self, token: str, value: Any) -> None:
        self.sent.append(value)

    report = end = begin


@pytest.fixture
async def server() -> SimpleNamespace:
    return SimpleNamespace(work_done_progress=FakeProgress())


async def test_it_begins_with_the_stage_that_the_run_has_come_to(server: Any) -> None:
    progress = Progress(server, "handlens_a", lambda: None, STAGES[STARTING])
    progress.show(STAGES["export"])
    await server.work_done_progress.reply()
    progress.show(STAGES["compare"])
    progress.end("done")
    begin, report, end = server.work_done_progress.sent
    assert (begin.title, begin.message) == ("Handlens: handlens_a", "exporting")
    assert (report.message, end.kind, end.message) == ("comparing", "end", "done")
    assert begin.percentage < report.percentage
    assert not server.work_done_progress.tokens


async def test_a_client_that_answers_after_the_end_shows_nothing(server: Any) -> None:
    Progress(server, "handlens_a", lambda: None, STAGES[STARTING]).end("done")
    await server.work_done_progress.reply()
    assert not server.work_done_progress.sent
    assert not server.work_done_progress.tokens


async def test_a_client_that_refuses_does_not_disturb_the_run(server: Any) -> None:
    progress = Progress(server, "handlens_a", lambda: None, STAGES[STARTING])
    await server.work_done_progress.reply(JsonRpcInternalError("no"))
    progress.show(STAGES["compare"])
    progress.end("done")
    assert not server.work_done_progress.sent


async def test_the_button_cancels_the_run_and_the_end_does_not(server: Any) -> None:
    cancelled: list[bool] = []
    progress = Progress(server, "handlens_a", lambda: cancelled.append(True), STAGES[STARTING])
    await server.work_done_progress.reply()
    assert not cancelled
    [token] = server.work_done_progress.tokens.values()
    token.cancel()
    progress.end("cancelled")
    assert cancelled == [True]


async def test_a_stage_shows_how_far_it_is(server: Any) -> None:
    state = State()
    state.capabilities = Capabilities(progress=True)
    runs = Runs(state)
    register(server, state, runs, Searches(state, runs))
    run = Run("file:///model.py", "/model.py", 1, 1, "")
    server.work_done_progress.answer.set_result(None)
    state.events.stage_entered(run, "handlens_a", "starting")
    await server.work_done_progress.reply()
    state.events.stage_entered(run, "handlens_a", "compare")
    for layer in (6, 18, 24):
        state.events.stage_advanced(run, StageProgress("compare", layer / 24, layer, 24))
    begun, *advanced = server.work_done_progress.sent[-4:]
    assert [each.message for each in advanced] == [
        "comparing: layer 6 of 24",
        "comparing: layer 18 of 24",
        "comparing: layer 24 of 24",
    ]
    percentages = [each.percentage for each in (begun, *advanced)]
    assert percentages == sorted(set(percentages))
    assert percentages[-1] == 100


async def test_a_run_shows_its_targets_one_after_the_other(server: Any) -> None:
    state = State()
    state.capabilities = Capabilities(progress=True)
    runs = Runs(state)
    register(server, state, runs, Searches(state, runs))
    run = Run("file:///model.py", "/model.py", 1, 1, "")
    server.work_done_progress.answer.set_result(None)
    for target in ("handlens_a", "handlens_b"):
        state.events.stage_entered(run, target, "starting")
        await server.work_done_progress.reply()
        state.events.stage_entered(run, target, "load")
        state.events.target_ended(run, target == "handlens_b")
    sent = server.work_done_progress.sent
    assert [each.message for each in sent if each.kind == "end"] == ["done", "cancelled"]
    assert [each.title for each in sent if each.kind == "begin"] == [
        "Handlens: handlens_a",
        "Handlens: handlens_b",
    ]
    assert not server.work_done_progress.tokens
