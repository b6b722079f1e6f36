"""Twenty documents at once: few runs at a time, what was looked at last first, nobody forever last, and
each with its own numbers."""

from __future__ import annotations

import asyncio
import fcntl
import random
import re
from pathlib import Path

import pytest
from lsprotocol import types

from handlens_server.runs.turns import Turns
from tests.server.conftest import GUARD_S, serving_client

# -- whose turn it is -------------------------------------------------------------------------------


class Queue:
    """Runs that wait for turns, and end when they are told to."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.running: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._places = places
        self._victims: dict[str, str] = {}
        self._changed = asyncio.Event()

    async def add(self, name: str) -> None:
        asked = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._run(name, asked))
        await asked.wait()
        await self.settled()

    async def _run(self, name: str, asked: asyncio.Event) -> None:
        asked.set()
        async with self.turns.turn(name):
            self.running[name] = asyncio.Event()
            self._changed.set()
            try:
                await self.running[name].wait()
            finally:
                del self.running[name]
        # Whoever has the turn now has not woken up yet.
        if name in self._victims:
            self.tasks[self._victims.pop(name)].cancel()

    async def end(self, name: str) -> None:
        self.running[name].set()
        await asyncio.wait([self.tasks[name]])
        await self.settled()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.wait([self.tasks[name]])
        await self.settled()

    async def cancel_as_a_turn_ends(self, name: str) -> None:
        ending = next(iter(self.running))
        self._victims[ending] = name
        self.running[ending].set()
        await asyncio.wait([self.tasks[ending], self.tasks[name]])
        await self.settled()

    async def settled(self) -> None:
        """Wait until as many run as there are places for."""
        while len(self.running) < min(self._places, self.unfinished()):
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), GUARD_S)

    def unfinished(self) -> int:
        return sum(not task.done() for task in self.tasks.values())


async def test_whoever_waits_goes_in_the_order_of_coming_where_nobody_was_looked_at() -> None:
    queue = Queue(2)
    for name in "abcde":
        await queue.add(name)
    order = []
    while queue.running:
        name = next(iter(queue.running))
        order.append(name)
        assert len(queue.running) <= 2
        await queue.end(name)
    assert order == list("abcde")


async def test_what_was_looked_at_last_goes_first() -> None:
    queue = Queue(1)
    for name in "abcd":
        await queue.add(name)
    queue.turns.prioritize("c")
    queue.turns.prioritize("d")
    await queue.end("a")
    assert list(queue.running) == ["d"]
    await queue.end("d")
    assert list(queue.running) == ["c"]
    queue.turns.forget("c")
    await queue.add("c2")
    await queue.end("c")
    assert list(queue.running) == ["b"]


async def test_somebody_who_is_looked_at_again_and_again_does_not_keep_others_from_their_turn() -> (
    None
):
    queue = Queue(1)
    await queue.add("busy 0")
    await queue.add("quiet")
    turns = 0
    while "quiet" not in queue.running:
        turns += 1
        assert turns < 10
        await queue.add(f"busy {turns}")
        queue.turns.prioritize(f"busy {turns}")
        await queue.end(next(iter(queue.running)))


@pytest.mark.parametrize("seed", range(20))
async def test_no_turn_is_lost_or_given_twice_whatever_is_cancelled(seed: int) -> None:
    chance = random.Random(seed)
    queue = Queue(2)
    names = [str(i) for i in range(30)]
    for name in names:
        await queue.add(name)
        assert len(queue.running) <= 2
        if chance.random() < 0.6:
            victim = chance.choice(list(queue.tasks))
            if chance.random() < 0.5 and queue.running:
                # It may just have been given the turn.
                await queue.cancel_as_a_turn_ends(victim)
            else:
                await queue.cancel(victim)
        queue.turns.prioritize(chance.choice(names))
    while queue.running:
        assert len(queue.running) == min(2, queue.unfinished())
        await queue.end(next(iter(queue.running)))
    assert all(task.done() for task in queue.tasks.values())
    await queue.add("one")
    await queue.add("two")
    await queue.add("three")
    assert set(queue.running) == {"one", "two"}


# -- with real runs ---------------------------------------------------------------------------------

COUNT = 20

# It says that it is run, and goes on once nobody holds the lock.
NUMBERED = """\
import fcntl
import torch
from torch import nn


class Model{i}(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_{i} = nn.Linear({i} + 2, 2)

    def forward(self, x):
        return self.layer_{i}(x)


def handlens_{i}():
    with open({log!r}, "a") as log:
        print("{i}", file=log)
        log.flush()
        with open({gate!r}) as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
    return Model{i}(), (torch.ones(1, {i} + 2),)
"""


def numbers_in(text: str) -> set[int]:
    """The documents that a text is about."""
    return {int(number) for number in re.findall(r"(?:layer_|handlens_|Model|model_)(\d+)", text)}


async def test_twenty_documents_are_run_in_turn_and_each_shows_its_own(tmp_path: Path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    async with serving_client(tmp_path, run="onSave") as client:
        with gate.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            texts = [NUMBERED.format(i=i, log=str(log), gate=str(gate)) for i in range(COUNT)]
            documents = [client.open(f"model_{i}.py", text) for i, text in enumerate(texts)]
            # Edited while they wait: the text of now is what is run.
            for document in documents[5:10]:
                client.save(document, document.text + "\nEDITED = True\n")
            await client.hover(documents[3], types.Position(0, 0))
        for document in documents:
            await client.diagnostics(document)
        order = [int(line) for line in log.read_text().split()]
        assert sorted(order) == list(range(COUNT))
        # Two were under way before, and the one that starts beside it may be the quicker.
        assert order.index(3) <= 3
        for i, document in enumerate(documents):
            shown = await client.shows(document)
            assert numbers_in("".join(each.message for each in shown)) <= {i}
            hover = await client.hover(document, document.position(f"self.layer_{i}(x)"))
            assert numbers_in(hover.contents.value) == {i}
            params = {"uri": document.uri, "target": f"handlens_{i}"}
            report = await client.protocol.send_request_async("handlens/report", params)
            assert {op.module for op in report.ops} == {f"layer_{i}"}
            assert report.uri == document.uri
            wrong = {"uri": document.uri, "target": f"handlens_{(i + 1) % COUNT}"}
            assert await client.protocol.send_request_async("handlens/report", wrong) is None
