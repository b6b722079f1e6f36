"""An op shares one scale with louder ops that it is put beside."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.ranges import FAR_WIDER, largest, levels, same_scale, steps_used
from handlens.report import NO_CAUSE, Cause
from handlens.words import in_module, interval, number

# Ops that put their inputs beside one another: these get one scale.
_SIDE_BY_SIDE = {"cat", "stack"}


def explain(loss: Loss) -> Cause:
    op, output, neighbours = loss.op, loss.output, loss.neighbours
    steps, (low, high) = steps_used(output, op.reference_range), op.reference_range
    if steps is None or low is None or high is None:
        return NO_CAUSE
    for reader in neighbours.readers(op):
        shared = any(same_scale(each, output) for each in reader.quantizers_of("output"))
        others = [neighbours.by_handle.get(each) for each in reader.inputs if each != op.handle]
        loudest = max((each for each in others if each is not None), key=largest, default=None)
        if reader.name not in _SIDE_BY_SIDE or not shared or loudest is None:
            continue
        if largest(loudest) < FAR_WIDER * largest(op):
            continue
        line = f" at line {reader.span.line}" if reader.span else ""
        louder = in_module(loudest.name, loudest.module)
        return Cause(
            f"the {reader.name}{line} gives it one scale with {louder}, which reaches "
            f"{number(largest(loudest))}: its own values, {interval(low, high)}, use "
            f"{steps} of {levels(output)} steps",
        )
    return NO_CAUSE
