"""Messages and shared work between ranks, over a real store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from handlens.distributed.ranks import END, RankFailed, Ranks
from handlens.distributed.shared_work import SharedWork
from handlens.report import Failure, Span
from handlens.request import Shard

FAILURE = Failure("HL304", "its process was killed by SIGSEGV", Span("net.py", 3, 4, 3, 9), "")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    served = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(served.port))
    return served


@pytest.fixture
def ranks(store: TCPStore) -> tuple[Ranks, Ranks]:
    return Ranks(Shard(0, 2, 0)), Ranks(Shard(1, 2, 0))


def test_messages_come_in_order_and_may_be_large(ranks: tuple[Ranks, Ranks]) -> None:
    first, second = ranks
    large = torch.arange(3_000_000)
    assert not second.has_message(0)
    first.send({"large": large}, 1)
    first.broadcast(END)
    assert second.has_message(0)
    assert torch.equal(second.receive(0)["large"], large)
    assert second.receive(0) == END
    assert not second.has_message(0)


def test_runs_do_not_read_the_messages_of_one_another(ranks: tuple[Ranks, Ranks]) -> None:
    ranks[0].send("of the run before", 1)
    following = Ranks(Shard(0, 2, 1)), Ranks(Shard(1, 2, 1))
    assert not following[1].has_message(0)
    assert (ranks[1].claim("batches"), following[1].claim("batches")) == (0, 0)


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_a_death_is_heard_even_within_a_message(ranks: tuple[Ranks, Ranks], pieces: int) -> None:
    dying, reader = ranks
    for _ in range(pieces):
        dying._push(b"+the beginning of a message", 1)
    # Another process tells it.
    Ranks(Shard(0, 2, 0)).fail(FAILURE)
    with pytest.raises(RankFailed) as raised:
        reader.receive(0)
    assert raised.value.failure == FAILURE
    assert raised.value.rank == 0


def test_claims_are_of_one_rank_each_and_can_be_ended(ranks: tuple[Ranks, Ranks]) -> None:
    first, second = ranks
    assert [first.claim("x"), second.claim("x"), first.claim("y")] == [0, 1, 0]
    second.end_claims("x")
    assert first.claim("x") > 1 << 30


def test_work_is_measured_once_by_any_rank_and_failures_where_they_are_used(
    ranks: tuple[Ranks, Ranks],
) -> None:
    measured: list[tuple[int, int]] = []

    def work(rank: int) -> SharedWork[int, int]:
        def square(number: int) -> int:
            measured.append((rank, number))
            if number == 5:
                raise ValueError("five")
            return number * number

        return SharedWork("squares", square, ranks[rank])

    def help_until_the_end() -> None:
        mine = work(1)
        while (message := ranks[1].receive(0)) != END:
            _, block, tasks = message
            ranks[1].send(mine.measure_some(ranks[1], block, tasks), 0)

    with ThreadPoolExecutor() as pool:
        helping = pool.submit(help_until_the_end)
        mine = work(0)
        mine.announce(range(11))
        assert [mine.result(each) for each in range(5)] == [0, 1, 4, 9, 16]
        with pytest.raises(ValueError, match="five"):
            mine.result(5)
        assert [mine.result(each) for each in (6, 7, 8, 9, 10, 20)] == [36, 49, 64, 81, 100, 400]
        ranks[0].broadcast(END)
        helping.result()
    numbers = sorted(number for _, number in measured)
    # The one that raises is measured again by rank 0, which meets the exception.
    assert numbers == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 20]
