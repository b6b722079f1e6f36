"""Why an op loses accuracy and what helps, in words.

There is a cause only where what was measured leaves no doubt, for a wrong cause sends people the wrong way.
The advice is what was seen to help on models that show the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from handlens.diagnosis.causes import (
    bits_of_bfloat16,
    clipping,
    coarse_weight,
    few_steps,
    lost_write,
    loud_channel,
    loud_weight_channel,
    masked_values,
    model_input,
    outliers,
    overflow,
    shared_scale,
    small_for_float16,
    vanished_divisor,
    weight_and_input,
    wide_range,
)
from handlens.diagnosis.causes.loss import Loss, Place
from handlens.report import NO_CAUSE, Cause

Explain = Callable[[Loss], Cause]

_OF_LOSSES: Mapping[Place | None, Sequence[Explain]] = {
    "write": (lost_write.explain,),
    "clipping": (clipping.explain,),
    "input": (model_input.explain,),
    "weight": (weight_and_input.explain, loud_weight_channel.explain, coarse_weight.explain),
    "cast": (small_for_float16.explain, bits_of_bfloat16.explain),
    "output": (
        masked_values.explain,
        shared_scale.explain,
        loud_channel.explain,
        wide_range.explain,
        outliers.explain,
        few_steps.explain,
    ),
    None: (),
}
"""By where a loss happens, the causes that are tried, in this order."""

_OF_NON_FINITE: Sequence[Explain] = (overflow.explain, vanished_divisor.explain)


def of_loss(loss: Loss) -> Cause:
    """Why an op introduces noise."""
    return _first(_OF_LOSSES[loss.place], loss)


def of_clipping(loss: Loss) -> Cause:
    """Why an op clips, and how much of its noise that is."""
    return clipping.explain(loss)


def of_non_finite(loss: Loss) -> Cause:
    """Why an op gives NaN or Inf where the reference does not."""
    return _first(_OF_NON_FINITE, loss)


def _first(explanations: Iterable[Explain], loss: Loss) -> Cause:
    found = (explain(loss) for explain in explanations)
    return next((each for each in found if each), NO_CAUSE)
