"""Findings: which expressions lose accuracy, and which only pass on what was lost before them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from handlens.diagnosis import causes
from handlens.diagnosis.origins import Origins, sqnr
from handlens.report import Finding, OpReport, Related, Severity, Thresholds

# Clipping costs accuracy where it is a quarter of what the op loses, or more: without it the op would be
# better by 1.2 dB at least.
_COSTLY = 0.25


def diagnose(ops: Sequence[OpReport], thresholds: Thresholds) -> list[Finding]:
    """The findings about ops, in the order of the ops; one per source expression and rule."""
    neighbours = causes.Neighbours(ops)
    order = {op.handle: index for index, op in enumerate(ops)}
    low = [op for op in ops if _severity(op, thresholds) is not None]
    origins = Origins(ops)
    charged, inherited = _charge(low, origins, thresholds)
    uncalibrated = {handle for handle in charged if neighbours.by_handle[handle].uncalibrated}

    findings: list[Finding] = []
    for instances in _grouped(
        op for op in ops if op.handle in charged or op.handle in inherited
    ).values():
        # A line shows its worst: what it loses itself comes before what it inherits.
        losing = [op for op in instances if op.handle in charged.keys() - uncalibrated]
        if losing:
            findings.append(_low_sqnr(losing, instances, charged, origins, thresholds, neighbours))
            clipping = [
                op
                for op in losing
                if op.saturated > thresholds.saturated_share and op.clipping_share >= _COSTLY
            ]
            if clipping:
                findings.append(_saturation(max(clipping, key=lambda op: op.saturated)))
        elif not uncalibrated & {op.handle for op in instances}:
            findings.append(_inherited(instances, inherited, origins))
    broken = {op.handle for op in ops if op.verdict == "non-finite"}
    first = (op for op in ops if op.handle in broken and not broken & set(op.inputs))
    findings += [_non_finite(instances, neighbours) for instances in _grouped(first).values()]
    return sorted(findings, key=lambda each: order[each.handle or 0])


def _charge(
    low: Sequence[OpReport], origins: Origins, thresholds: Thresholds
) -> tuple[dict[int, OpReport], dict[int, OpReport | None]]:
    """Handles of the ops that answer for a loss, each with the op where it is worst; and handles of the
    ops that only inherit one, each with the op it came from."""
    charged: dict[int, OpReport] = {}
    inherited: dict[int, OpReport | None] = {}
    for op in low:
        named = origins.of(op)
        if _loses_alone(op, thresholds) and op not in named:
            named.append(op)
        for origin in named:
            worst = charged.setdefault(origin.handle, op)
            if sqnr(op) < sqnr(worst):
                charged[origin.handle] = op
        if op not in named:
            inherited[op.handle] = named[0] if named else None
    return charged, {each: inherited[each] for each in inherited if each not in charged}


def _severity(op: OpReport, thresholds: Thresholds) -> Severity | None:
    # The ratio of indices or of a mask is no measure of what is made of them.
    return None if op.sqnr_db is None or op.whole else thresholds.severity(op.sqnr_db)


def _loses_alone(op: OpReport, thresholds: Thresholds) -> bool:
    """Whether an op loses too much even from exact inputs, however much its inputs lost before."""
    return op.introduced_sqnr_db is not None and op.introduced_sqnr_db < thresholds.warning_db


def _grouped(ops: Iterable[OpReport]) -> dict[object, list[OpReport]]:
    """The ops of each source expression; an op without one is by itself."""
    groups: dict[object, list[OpReport]] = defaultdict(list)
    for op in ops:
        span = op.span
        groups[(span.file, span.start, span.end) if span else op.handle].append(op)
    return groups


# -- one finding per rule --------------------------------------------------------------------------


def _low_sqnr(
    losing: Sequence[OpReport],
    instances: Sequence[OpReport],
    charged: dict[int, OpReport],
    origins: Origins,
    thresholds: Thresholds,
    neighbours: causes.Neighbours,
) -> Finding:
    op = min(losing, key=lambda each: sqnr(charged[each.handle]))
    worst = charged[op.handle]
    severity = _severity(worst, thresholds)
    assert severity is not None
    message = f"{op.name} {_db(op.sqnr_db)}"
    related = _others(op, instances)
    if worst is not op and severity != _severity(op, thresholds):
        message += f", down to {_db(worst.sqnr_db)} at {worst.name}"
        place = _instance(worst)
        related.insert(0, Related(f"worst after it: {place.message}", place.span, place.handle))
    elif op.introduced_sqnr_db is not None:
        message += f", introduces {_db(op.introduced_sqnr_db)}"
    cause = causes.lost_write(origins.missing(op)) or causes.loss(op, neighbours)
    if origins.share(op, worst) < causes.MOST:
        cause = causes.without_keeping(cause)
    return Finding(
        *("HL101", severity, _at_module(message, op), op.handle, op.span, tuple(related)),
        cause=cause,
    )


def _inherited(
    instances: Sequence[OpReport], inherited: dict[int, OpReport | None], origins: Origins
) -> Finding:
    op = min(instances, key=sqnr)
    origin = inherited[op.handle]
    message = f"{op.name} {_db(op.sqnr_db)}, "
    related = _others(op, instances)
    origin = origin or origins.not_finite(op)
    if origin is None and origins.are_many(op):
        message += "the sum of many small losses before it"
    elif origin is None:
        message += "lost before it, where it could not be traced"
    else:
        message += f"inherited from {origin.name}"
        message += f" in {origin.module}" if origin.module else ""
        related.insert(
            0, Related(f"origin: {_instance(origin).message}", origin.span, origin.handle)
        )
    return Finding("HL102", "hint", _at_module(message, op), op.handle, op.span, tuple(related))


def _saturation(op: OpReport) -> Finding:
    message = f"{op.name} clips {op.saturated:.1%} of its values"
    return Finding(
        *("HL104", "warning", _at_module(message, op), op.handle, op.span),
        cause=causes.clipping(op),
    )


def _non_finite(instances: Sequence[OpReport], neighbours: causes.Neighbours) -> Finding:
    op = instances[0]
    message = f"{op.name} gives NaN or Inf where the reference is finite"
    related = tuple(_others(op, instances))
    return Finding(
        *("HL103", "error", _at_module(message, op), op.handle, op.span, related),
        cause=causes.non_finite(op, neighbours),
    )


def _others(op: OpReport, instances: Sequence[OpReport]) -> list[Related]:
    """The other runs of the same expression, in the order of the graph."""
    return [_instance(each) for each in instances if each is not op]


def _instance(op: OpReport) -> Related:
    value = f"{_db(op.sqnr_db)}" if op.sqnr_db is not None else op.verdict
    return Related(_at_module(f"{op.name} {value}", op), op.span, op.handle)


def _db(ratio: float | None) -> str:
    # Adding zero takes the sign off a ratio that rounds to zero.
    return "" if ratio is None else f"{round(ratio, 1) + 0.0:.1f} dB"


def _at_module(message: str, op: OpReport) -> str:
    return f"{message} · {op.module}" if op.module else message
