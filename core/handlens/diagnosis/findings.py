"""Findings: which expressions lose accuracy, and which only pass on what was lost before them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from handlens.report import Finding, OpReport, Related, Severity
from handlens.rules import Thresholds

# An op answers for its SQNR if at least a quarter of the noise power at its output is its own: without
# it the output would be 1.2 dB better, or more.
_OWN_SHARE = 0.25
# An op that introduces nothing yet is this much worse than the worst of its inputs amplifies their error
# (it subtracts nearly equal values, say).
_AMPLIFIES_DB = 6.0


def diagnose(ops: Sequence[OpReport], thresholds: Thresholds) -> list[Finding]:
    """The findings about ops, in the order of the ops; one per source expression and rule."""
    by_handle = {op.handle: op for op in ops}
    low = [op for op in ops if _severity(op, thresholds) is not None]
    order = {op.handle: index for index, op in enumerate(ops)}
    findings: list[Finding] = []
    for instances in _by_place(low):
        own = [op for op in instances if _introduces(op)]
        worst = min(own or instances, key=_sqnr)
        others = [op for op in instances if op is not worst]
        if own:
            findings.append(_low_sqnr(worst, others, thresholds))
            clipped = max(own, key=lambda op: op.saturated)
            if clipped.saturated > thresholds.saturated_share:
                findings.append(_saturation(clipped))
        else:
            findings.append(_inherited(worst, others, by_handle))
    broken = [op for op in ops if op.verdict == "non-finite"]
    first = [op for op in broken if not any(_is_broken(by_handle, each) for each in op.inputs)]
    findings.extend(_non_finite(instances) for instances in _by_place(first))
    return sorted(findings, key=lambda each: order.get(each.handle or 0, 0))


def _severity(op: OpReport, thresholds: Thresholds) -> Severity | None:
    return None if op.sqnr_db is None else thresholds.severity(op.sqnr_db)


def _sqnr(op: OpReport) -> float:
    return math.inf if op.sqnr_db is None else op.sqnr_db


def _introduces(op: OpReport) -> bool:
    return op.introduced_share >= _OWN_SHARE


def _is_broken(by_handle: Mapping[int, OpReport], handle: int) -> bool:
    return handle in by_handle and by_handle[handle].verdict == "non-finite"


def _by_place(ops: Iterable[OpReport]) -> Iterator[list[OpReport]]:
    """The ops of each source expression; those without one by themselves."""

    def place(op: OpReport) -> tuple[str, ...]:
        span = op.span
        return (span.file, repr(span.start), repr(span.end)) if span else ("", str(op.handle))

    for _, instances in groupby(sorted(ops, key=place), key=place):
        yield list(instances)


# -- one finding per rule --------------------------------------------------------------------------


def _low_sqnr(op: OpReport, others: Sequence[OpReport], thresholds: Thresholds) -> Finding:
    introduced = op.introduced_sqnr_db
    message = f"{op.name} {op.sqnr_db:.1f} dB"
    if introduced is not None:
        message += f", introduces {introduced:.1f} dB"
    return Finding(
        "HL101",
        _severity(op, thresholds) or "information",
        _at_module(message, op),
        op.handle,
        op.span,
        tuple(_instance(each) for each in others),
    )


def _inherited(
    op: OpReport, others: Sequence[OpReport], by_handle: Mapping[int, OpReport]
) -> Finding:
    origin, amplifies = _origin(op, by_handle)
    message = f"{op.name} {op.sqnr_db:.1f} dB"
    related = [_instance(each) for each in others]
    if origin is not None:
        verb = "amplifies the error of" if amplifies else "inherited from"
        message += f", {verb} {origin.name}" + (f" in {origin.module}" if origin.module else "")
        related.insert(
            0, Related(_at_module(f"origin: {_brief(origin)}", origin), origin.span, origin.handle)
        )
    return Finding("HL102", "hint", _at_module(message, op), op.handle, op.span, tuple(related))


def _saturation(op: OpReport) -> Finding:
    message = f"{op.name} clips {op.saturated:.1%} of its values"
    return Finding("HL104", "warning", _at_module(message, op), op.handle, op.span)


def _non_finite(ops: Sequence[OpReport]) -> Finding:
    op = ops[0]
    message = f"{op.name} gives NaN or Inf where the reference is finite"
    return Finding(
        "HL103",
        "error",
        _at_module(message, op),
        op.handle,
        op.span,
        tuple(_instance(each) for each in ops[1:]),
    )


def _origin(op: OpReport, by_handle: Mapping[int, OpReport]) -> tuple[OpReport | None, bool]:
    """The op that a loss came from: the way up through the worst input of each op, to the first that
    introduces what it passes on. And whether ``op`` itself made an otherwise fine input worse."""
    amplifies = False
    current: OpReport | None = op
    seen = {op.handle}
    while current is not None:
        inputs = [
            by_handle[each] for each in current.inputs if each in by_handle and each not in seen
        ]
        worst = min(inputs, key=_sqnr, default=None)
        if current is op and worst is not None:
            amplifies = _sqnr(worst) > _sqnr(op) + _AMPLIFIES_DB
        if worst is None or worst.sqnr_db is None:
            return (None if current is op else current), amplifies
        seen.add(worst.handle)
        current = worst
        if _introduces(current):
            return current, amplifies
    return None, amplifies


def _instance(op: OpReport) -> Related:
    return Related(_at_module(_brief(op), op), op.span, op.handle)


def _brief(op: OpReport) -> str:
    return f"{op.name} {op.sqnr_db:.1f} dB" if op.sqnr_db is not None else f"{op.name} {op.verdict}"


def _at_module(message: str, op: OpReport) -> str:
    return f"{message} · {op.module}" if op.module else message
