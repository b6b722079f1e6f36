"""Values lie outside the range of the quantizer of an op's output."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.phrases import CALIBRATE
from handlens.diagnosis.ranges import ends
from handlens.report import Cause, Quantizer
from handlens.words import interval, number, percent, portion

# Calibration has seen a value if it came within this part of it: two batches are never quite alike.
_SEEN = 0.9


def explain(loss: Loss) -> Cause:
    op = loss.op
    output = next((each for each in op.quantizers_of("output") if ends(each) is not None), None)
    return clipped("its values", op.saturated, op.clipping_share, op.reference_range, output)


def clipped(
    whose: str,
    saturated: float,
    share: float,
    values: tuple[float | None, float | None],
    quantizer: Quantizer | None,
) -> Cause:
    """The cause of a loss by clipping.

    Args:
        whose: The values that are clipped, in words.
        saturated: The share of them that is.
        share: The share of the op's loss that clipping makes.
        values: The smallest and the largest of them.
    """
    why = f"{percent(saturated)} of {whose}"
    reach = None if quantizer is None else ends(quantizer)
    low, high = values
    cost = f"clipping them is {portion(share)} of what it loses"
    if quantizer is None or reach is None or low is None or high is None:
        return Cause(f"{why} lie outside its quantizer's range; {cost}")
    above = high - reach[1] >= reach[0] - low
    why += f", {f'up to {number(high)}' if above else f'down to {number(low)}'},"
    why += f" lie outside its quantizer's range of {interval(*reach)}"
    if quantizer.observed is None:
        return Cause(f"{why}; {cost}")
    seen = quantizer.observed[1 if above else 0]
    furthest = high if above else low
    if abs(seen) >= _SEEN * abs(furthest) and (seen < 0) == (furthest < 0):
        return Cause(
            f"{why}, where calibration has seen {number(seen)}: its observer cuts them off; {cost}"
        )
    return Cause(f"{why}, and calibration has seen no more than {number(seen)}; {cost}", CALIBRATE)
