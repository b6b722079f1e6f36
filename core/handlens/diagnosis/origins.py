"""Where a loss comes from: the ops that introduced the noise that an op has at its output."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from handlens.report import OpReport

# An op answers for a loss if a fifth of the noise power, or more, is its own: without it the result would
# be better by 1 dB at least.
_OWN_SHARE = 0.2
# A share of an op that is smaller is not carried further: it is far too small to name the op.
_NEGLIGIBLE = 0.001

_EXPONENTIALS = {"exp", "exp_", "exp2", "expm1"}
# An exponential that makes this many times as much of the noise as it reads has changed what the noise is.
_STEEP = 10.0
# An op with this share of a noise is more or less all of it.
_ALL = 0.9

# Ops at whose output the noises of their inputs add as they are, loud input or not.
_SUMS = {"add", "add_", "sub", "sub_", "cat", "stack", "where"}

_Shares = dict[int | None, float]
"""By handle, the share of each op in a noise; under None, the share that could not be traced."""


def sqnr(op: OpReport) -> float:
    """Accumulated SQNR in dB; infinite where there is none."""
    return math.inf if op.sqnr_db is None else op.sqnr_db


@dataclass(frozen=True)
class _Noise:
    """The noise of an op, measured in two ways, each with the ops that it comes from.

    By power, loud channels decide. By channel, each channel counts relative to its own signal: that is how
    noise counts once a normalization, or the weights of the next layer, have made quiet channels as loud as
    others.
    """

    power: float
    """Noise over signal."""
    by_power: _Shares
    channel: float
    """Mean over the channels of noise over signal; that by power where there are none."""
    by_channel: _Shares


class Origins:
    """Traces the noise at the output of each op of a graph back to the ops that introduced it.

    An op introduces a measured share of the noise at its own output and hands on the rest. How much noise
    arrives at an op is measured, too: if it is more than the power of its inputs' noise would make, the
    rest was lost in quiet channels of those inputs. Whatever else happens to noise on its way is not known,
    so the shares are estimates: they decide which ops are named, and are never shown.

    Where the chain is broken (an input was not compared, is not finite, or comes from the last iteration
    of a loop), no op can be named for the share that comes that way.
    """

    def __init__(self, ops: Iterable[OpReport]) -> None:
        self._ops = {op.handle: op for op in ops}
        self._noises: dict[int, _Noise] = {}
        self._not_finite: dict[int, int | None] = {}
        for op in self._ops.values():
            self._trace(op)

    def of(self, op: OpReport) -> list[OpReport]:
        """The ops that answer for the noise of ``op``, the one with the largest share first."""
        shares = self._noises[op.handle].by_power
        named = [
            handle
            for handle, share in shares.items()
            if handle in self._ops and share >= _OWN_SHARE
        ]
        found = [self._ops[each] for each in named if each is not None]
        return sorted(found, key=lambda each: -shares[each.handle])

    def share(self, origin: OpReport, op: OpReport) -> float:
        """The share that ``origin`` has in the noise of ``op``."""
        return self._noises[op.handle].by_power.get(origin.handle, 0.0)

    def missing(self, writer: OpReport) -> list[OpReport]:
        """The ops that do not see what ``writer`` writes in place."""
        return [op for op in self._ops.values() if writer.handle in op.missed]

    def are_many(self, op: OpReport) -> bool:
        """True if the noise of ``op`` is the sum of the noise of many ops, each with a small share."""
        return self._noises[op.handle].by_power.get(None, 0.0) < _OWN_SHARE

    def not_finite(self, op: OpReport) -> OpReport | None:
        """The first op that is not finite among those that ``op`` depends on; None if there is none."""
        first = self._not_finite[op.handle]
        return None if first is None else self._ops[first]

    def _trace(self, op: OpReport) -> None:
        """Share out the noise of an op, after the noise of all ops that it reads.

        An op may come before one that it reads: bodies of control flow come late in a graph.
        """
        waiting = [op]
        begun: set[int] = set()
        while waiting:
            current = waiting[-1]
            missing = [
                source
                for source in self._read_by(current)
                if source.handle not in self._noises and source.handle not in begun
            ]
            begun.add(current.handle)
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if current.handle not in self._noises:
                self._noises[current.handle] = self._share_out(current)

    def _read_by(self, op: OpReport) -> list[OpReport]:
        return [self._ops[each] for each in op.inputs if each in self._ops]

    def _share_out(self, op: OpReport) -> _Noise:
        """The noise of an op: what it introduced, and what its inputs hand on to it."""
        broken = [self._not_finite.get(each.handle) for each in self._read_by(op)]
        broken.append(op.handle if op.verdict == "non-finite" else None)
        self._not_finite[op.handle] = min((each for each in broken if each), default=None)
        power = _ratio(op)
        by_power = self._shares(op, power, op.introduced_share)
        if op.channel_noise is None or not op.channel_noise:
            sources = self._read_by(op)
            if (
                len(sources) == 1
                and op.introduced_verdict == "exact"
                and sources[0].handle in self._noises
            ):
                # An op with several outputs, such as a split: its channels are those of its input.
                source = self._noises[sources[0].handle]
                return _Noise(power, by_power, source.channel, source.by_channel)
            return _Noise(power, by_power, power, by_power)
        own = (op.introduced_channel_noise or 0.0) / op.channel_noise
        by_channel = self._shares(op, op.channel_noise, own, by_channel=True)
        return _Noise(power, by_power, op.channel_noise, by_channel)

    def _shares(self, op: OpReport, ratio: float, own: float, by_channel: bool = False) -> _Shares:
        """By handle, the shares of ``op`` and of the ops before it in its noise."""
        own = min(1.0, own)
        shares: _Shares = defaultdict(float)
        shares[op.handle] = own
        sources = self._read_by(op)
        broken = not op.traced or any(
            each.verdict in ("non-finite", "not-compared") or each.handle not in self._noises
            for each in sources
        )
        handed: list[tuple[_Shares, float]] = []
        if op.missed:
            for writer in op.missed:
                shares[writer] += (1 - own) / len(op.missed)
        elif not broken:
            noises = [self._noises[each.handle] for each in sources]
            if op.name in _SUMS:
                handed = list(_added(op, sources, noises, by_channel))
            elif not _is_steep(op, noises, (1 - own) * ratio):
                handed = list(_passed(noises, (1 - own) * ratio))
        total = math.fsum(weight for _, weight in handed)
        if not total and not op.missed:
            shares[None] += 1 - own
        for theirs, weight in handed:
            for handle, share in theirs.items():
                shares[handle] += (1 - own) * share * (weight / total if total else 0.0)
        return {handle: share for handle, share in shares.items() if share >= _NEGLIGIBLE}


def _ratio(op: OpReport) -> float:
    """Noise power over signal power."""
    return 10 ** (-sqnr(op) / 10)


def _is_steep(op: OpReport, noises: Sequence[_Noise], arrives: float) -> bool:
    """True if ``op`` is an exponential that amplifies noise which comes from several ops.

    How much an exponential amplifies depends on the values that the noise is on. Power does not tell that,
    so the shares of several ops cannot be told apart. The noise of a single op remains that op's.
    """
    if op.name not in _EXPONENTIALS or arrives < _STEEP * math.fsum(
        max(each.power, each.channel) for each in noises
    ):
        return False
    return any(max(each.by_power.values(), default=0.0) < _ALL for each in noises)


def _added(
    op: OpReport, sources: Sequence[OpReport], noises: Sequence[_Noise], by_channel: bool
) -> Iterable[tuple[_Shares, float]]:
    """Yields the shares of each input of a sum or concatenation, and their weight in its noise."""
    relative = {each.handle: each.relative for each in op.parts}
    if by_channel and all(each.handle in relative for each in sources):
        for source, noise in zip(sources, noises):
            yield noise.by_channel, relative[source.handle]
        return
    powers = [each.mse for each in sources if each.mse is not None]
    known = len(powers) == len(sources)
    for index, noise in enumerate(noises):
        yield noise.by_power, powers[index] if known else noise.power


def _passed(noises: Sequence[_Noise], arrives: float) -> Iterable[tuple[_Shares, float]]:
    """Yields the shares of each input of an op that is no sum, and their weight in the noise of the op.

    ``arrives`` is the noise over signal that the op does not introduce itself. If that is more than the
    power of the inputs' noise, quiet channels count as much as loud ones. Both measures of a noise then
    count, each with the weight that makes their sum what arrives.
    """
    power = math.fsum(each.power for each in noises)
    channel = math.fsum(each.channel for each in noises)
    mixed = (arrives - power) / (channel - power) if channel > power else 0.0
    mixed = max(0.0, min(1.0, mixed))
    for each in noises:
        yield each.by_power, (1 - mixed) * each.power
        yield each.by_channel, mixed * each.channel
