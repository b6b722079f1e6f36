"""Where a loss comes from: the ops that introduced the noise that an op has at its output."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from handlens.report import OpReport

# An op answers for a loss from which a quarter of the noise power, or more, is its own: without it the
# result would be better by 1.2 dB at least.
_OWN_SHARE = 0.25
# What many ops hand on, each a little, names none of them: no need to carry it further.
_NEGLIGIBLE = 0.001

# Ops at whose output the noises of their inputs add as they are, loud input or not.
_SUMS = {"add", "add_", "sub", "sub_", "cat", "stack", "where"}


def sqnr(op: OpReport) -> float:
    """Accumulated SQNR in dB; infinite where there is none."""
    return math.inf if op.sqnr_db is None else op.sqnr_db


class Origins:
    """The ops of a graph, and which of them answer for the noise of which.

    An op introduces a measured share of the noise at its own output and hands on the rest. The inputs
    divide the rest as their noise reaches the output: by its power where values are added or put side by
    side, by its power relative to the signal elsewhere, as in a product. What happens to noise on its
    way is not known to the op, so the shares are estimates: they decide who is named, and are never shown.

    Where the chain is broken (an input was not compared, is not finite, or comes from the last iteration
    of a loop) nobody can be named for the share that comes that way.
    """

    def __init__(self, ops: Iterable[OpReport]) -> None:
        self._ops = {op.handle: op for op in ops}
        self._shares: dict[int, dict[int | None, float]] = {}
        """By handle the share that each op has in the noise of one, that of None being untraced."""
        for op in self._ops.values():
            self._trace(op)

    def of(self, op: OpReport) -> list[OpReport]:
        """The ops that answer for the noise of ``op``, the one with the largest share first."""
        shares = self._shares[op.handle]
        named = [
            handle
            for handle, share in shares.items()
            if handle in self._ops and share >= _OWN_SHARE
        ]
        found = [self._ops[each] for each in named if each is not None]
        return sorted(found, key=lambda each: -shares[each.handle])

    def missing(self, writer: OpReport) -> list[OpReport]:
        """The ops that do not see what ``writer`` writes in place."""
        return [op for op in self._ops.values() if writer.handle in op.missed]

    def are_many(self, op: OpReport) -> bool:
        """Whether the noise of ``op`` is the sum of that of many ops, each with a small share."""
        return self._shares[op.handle].get(None, 0.0) < _OWN_SHARE

    def _trace(self, op: OpReport) -> None:
        """Share out the noise of an op, after that of all that it reads: bodies come late in a graph."""
        waiting = [op]
        begun: set[int] = set()
        while waiting:
            current = waiting[-1]
            missing = [
                source
                for source in self._read_by(current)
                if source.handle not in self._shares and source.handle not in begun
            ]
            begun.add(current.handle)
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if current.handle not in self._shares:
                self._shares[current.handle] = self._share_out(current)

    def _read_by(self, op: OpReport) -> list[OpReport]:
        return [self._ops[each] for each in op.inputs if each in self._ops]

    def _share_out(self, op: OpReport) -> dict[int | None, float]:
        """By handle, the share that an op and those before it have in its noise."""
        own = min(1.0, op.introduced_share)
        shares: dict[int | None, float] = defaultdict(float)
        shares[op.handle] = own
        sources = self._read_by(op)
        parts = list(_parts(op, sources))
        broken = not op.traced or any(
            each.verdict in ("non-finite", "not-compared") or each.handle not in self._shares
            for each in sources
        )
        if op.missed:
            for writer in op.missed:
                shares[writer] += (1 - own) / len(op.missed)
        elif broken or not parts:
            shares[None] += 1 - own
        if op.missed or broken:
            parts = []
        for source, part in parts:
            for handle, share in self._shares[source.handle].items():
                shares[handle] += (1 - own) * part * share
        return {handle: share for handle, share in shares.items() if share >= _NEGLIGIBLE}


def _parts(op: OpReport, inputs: Sequence[OpReport]) -> Iterator[tuple[OpReport, float]]:
    """The inputs of an op, each with its part in the noise that reaches the output through them."""
    powers = [each.mse for each in inputs if each.mse is not None]
    if op.name not in _SUMS or len(powers) < len(inputs):
        powers = [10 ** (-sqnr(each) / 10) for each in inputs]
    total = math.fsum(powers)
    return ((each, power / total) for each, power in zip(inputs, powers) if power)
