"""An input of the model, as it is quantized, is most of what an op loses."""

from __future__ import annotations

import math

from handlens.diagnosis.causes.clipping import clipped
from handlens.diagnosis.causes.loss import MOST, Loss
from handlens.diagnosis.phrases import CALIBRATE, number_format
from handlens.diagnosis.ranges import ends, levels, steps_used
from handlens.report import NO_CAUSE, Cause, ModelInput
from handlens.words import interval, portion


def explain(loss: Loss) -> Cause:
    share = loss.op.input_share or 0.0
    worst = min(loss.op.model_inputs, key=_ratio)
    if worst.clipping_share >= MOST:
        values = f"the values of the model's input {worst.name}"
        clipping_share = worst.clipping_share * share
        return clipped(
            values, worst.saturated, clipping_share, worst.reference_range, worst.quantizer
        )
    return _wide_range(worst) or Cause(
        f"the model's input {worst.name} ({number_format(worst.quantizer)}) accounts for "
        f"{portion(share)} of what it loses",
    )


def _ratio(model_input: ModelInput) -> float:
    return math.inf if model_input.sqnr_db is None else model_input.sqnr_db


def _wide_range(model_input: ModelInput) -> Cause:
    quantizer = model_input.quantizer
    steps = steps_used(quantizer, model_input.reference_range)
    reach, (low, high) = ends(quantizer), model_input.reference_range
    if steps is None or reach is None or low is None or high is None:
        return NO_CAUSE
    return Cause(
        f"the quantizer of the model's input {model_input.name} has a range of {interval(*reach)}, and its "
        f"values are {interval(low, high)}: they use {steps} of {levels(quantizer)} steps",
        CALIBRATE,
    )
