"""Messages between the ranks of a run.

They go through the store that torchrun itself serves, under keys of our own, so that a model which uses
``torch.distributed`` has its default group to itself. The ranks exchange sums, which are small: they need
neither a process group nor its backends. What a rank leaves in the store is read even if the rank is dead.
"""

from __future__ import annotations

import datetime
import io
import os
from collections import Counter
from typing import Any

import torch
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from handlens.comparison.random_state import RandomState
from handlens.dataclass_json import from_json, to_json
from handlens.report import Failure
from handlens.request import Shard

# A message travels in pieces: the store takes no more than 8 MiB at once. The first byte says what each is.
_PIECE = 4 << 20
_MORE, _LAST, _FAILURE = b"+", b".", b"!"

# The store was there before any rank.
_TO_CONNECT = datetime.timedelta(seconds=20)
# A rank that hangs is ended by its command line, and a rank that ends says so.
_TO_ANSWER = datetime.timedelta(days=7)

NONE_LEFT = 1 << 40
"""Claims from this number on are of nothing."""

END = "end"
"""The message of rank 0 after which the others have nothing more to do in a run."""


class RankFailed(Exception):
    """Another rank cannot go on."""

    def __init__(self, rank: int, failure: Failure) -> None:
        super().__init__(rank, failure.message)
        self.rank = rank
        self.failure = failure


class Ranks:
    """This rank of a run, and the others."""

    def __init__(self, shard: Shard) -> None:
        self.is_first = shard.rank == 0
        self._rank = shard.rank
        self._received: Counter[int] = Counter()
        """By sender, how many pieces were received."""
        self.others = [each for each in range(shard.world_size) if each != shard.rank]
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        served = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=_TO_CONNECT)
        served.set_timeout(_TO_ANSWER)
        # After a restart of all ranks, the store has what was left unread.
        restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._store = PrefixStore(f"handlens/{restarts}/{shard.run}", served)

    def send(self, message: Any, to: int) -> None:
        """Leave a message for another rank, which need not be there yet."""
        buffer = io.BytesIO()
        torch.save(message, buffer)
        data = buffer.getvalue()
        for start in range(0, len(data), _PIECE):
            mark = _MORE if start + _PIECE < len(data) else _LAST
            self._push(mark + data[start : start + _PIECE], to)

    def broadcast(self, message: Any) -> None:
        """Leave a message for all other ranks."""
        for each in self.others:
            self.send(message, each)

    def fail(self, failure: Failure) -> None:
        """Let all other ranks know that this one cannot go on."""
        buffer = io.BytesIO()
        torch.save(to_json(failure), buffer)
        piece = _FAILURE + buffer.getvalue()
        for each in self.others:
            # A rank that has died may have left a piece without counting it.
            place = self._store.add(_sent(self._rank, each), 0)
            for key in (_key(self._rank, each, place), _key(self._rank, each, place + 1)):
                self._store.set(key, piece)  # type: ignore[arg-type]

    def receive(self, sender: int) -> Any:
        """Wait for the next message of another rank. Raises RankFailed."""
        data = bytearray()
        while True:
            key = _key(sender, self._rank, self._received[sender])
            piece = self._store.get(key)
            self._store.delete_key(key)
            self._received[sender] += 1
            mark, rest = piece[:1], piece[1:]
            if mark == _FAILURE:
                # The rank may have died in the middle of a message.
                raise RankFailed(sender, from_json(Failure, _loaded(rest)))
            data += rest
            if mark == _LAST:
                return _loaded(data)

    def has_message(self, sender: int) -> bool:
        """True if ``receive`` would not wait."""
        return self._store.check([_key(sender, self._rank, self._received[sender])])

    def claim(self, what: str) -> int:
        """The next number that no rank has claimed, from 0 on."""
        return self._store.add(what, 1) - 1

    def end_claims(self, what: str) -> None:
        """Leave nothing to claim: all numbers from now on are larger than any that means something."""
        self._store.add(what, NONE_LEFT)

    def share_random_state(self) -> None:
        """Let all ranks draw the random numbers that rank 0 draws next."""
        if self.is_first:
            self.broadcast(RandomState())
        else:
            self.receive(0).restore()

    def _push(self, piece: bytes, to: int) -> None:
        place = self._store.add(_sent(self._rank, to), 0)
        self._store.set(_key(self._rank, to, place), piece)  # type: ignore[arg-type]
        self._store.add(_sent(self._rank, to), 1)


def _sent(sender: int, receiver: int) -> str:
    """The key of how many pieces a rank has sent to another."""
    return f"{sender} to {receiver}"


def _key(sender: int, receiver: int, place: int) -> str:
    """The key of a piece."""
    return f"{sender} to {receiver}: {place}"


def _loaded(data: bytes | bytearray) -> Any:
    # Tensors come to the CPU: another rank's device may be none of ours.
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
