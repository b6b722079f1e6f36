"""One channel sets the scale, and is so loud that the others have few steps of it."""

from __future__ import annotations

import math

from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.phrases import loudest_channel
from handlens.diagnosis.ranges import FAR_LOUDER, ends, levels, loud_channel
from handlens.report import NO_CAUSE, Cause

_WEIGHTED = {"conv1d", "conv2d", "conv3d", "linear"}


def explain(loss: Loss) -> Cause:
    op, output = loss.op, loss.output
    channels, reach = loud_channel(op, output), ends(output)
    if channels is None or reach is None or output.scale is None:
        return NO_CAUSE
    count, (scale, _) = levels(output), output.scale
    sides = 2 if (op.reference_range[0] or 0.0) < -scale / 2 else 1
    steps = math.ceil(sides * channels.median_magnitude / scale)
    # Where the range was not made for the loud channel, something else made it wide.
    if channels.widest_magnitude < max(map(abs, reach)) / 2 or steps > count / FAR_LOUDER:
        return NO_CAUSE
    readers = loss.neighbours.readers(op)
    weighted = bool(readers) and all(each.name in _WEIGHTED for each in readers)
    equalize = "move that channel's size into the next weight (cross-layer equalization)"
    return Cause(
        f"{loudest_channel(channels)}, and one scale for all {channels.count} leaves the median channel "
        f"{steps} of {count} steps",
        equalize if weighted else "",
    )
