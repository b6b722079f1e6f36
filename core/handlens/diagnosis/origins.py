"""Where a loss comes from: the ops that introduced the noise that an op has at its output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from handlens.report import OpReport

# An op answers for a loss from which a quarter of the noise power, or more, is its own: without it the
# result would be better by 1.2 dB at least.
_OWN_SHARE = 0.25


def sqnr(op: OpReport) -> float:
    """Accumulated SQNR in dB; infinite where there is none."""
    return math.inf if op.sqnr_db is None else op.sqnr_db


def origins(op: OpReport, by_handle: Mapping[int, OpReport]) -> list[tuple[OpReport, float]]:
    """The ops that answer for the noise of ``op``, and their estimated share of it, the largest first.

    An op introduces a measured share of the noise at its own output and hands on the rest; that rest is
    followed up through the input with the lowest SQNR. What happens to noise on its way is not known to
    the op, so the shares are estimates: they decide who is named, and are never shown.
    """
    found = [(each, share) for each, share in _shares(op, by_handle) if share >= _OWN_SHARE]
    return sorted(found, key=lambda pair: -pair[1])


def _shares(op: OpReport, by_handle: Mapping[int, OpReport]) -> Iterator[tuple[OpReport, float]]:
    rest = 1.0
    current: OpReport | None = op
    seen: set[int] = set()
    while current is not None and rest >= _OWN_SHARE:
        seen.add(current.handle)
        own = min(1.0, current.introduced_share)
        yield current, rest * own
        rest *= 1 - own
        inputs = (by_handle[each] for each in current.inputs if each in by_handle)
        current = min((each for each in inputs if each.handle not in seen), key=sqnr, default=None)
