"""Parts of sentences that several findings and causes share."""

from __future__ import annotations

import math

from handlens import words
from handlens.diagnosis.ranges import levels
from handlens.report import Channels, OpReport, Quantizer, Related

CALIBRATE = "calibrate with inputs like those the model meets"


def instance(op: OpReport) -> Related:
    """An op as another place that belongs to a finding."""
    value = op.verdict if op.sqnr_db is None else words.decibels(op.sqnr_db)
    return Related(words.at_module(f"{op.name} {value}", op.module), op.span, op.handle)


def number_format(quantizer: Quantizer) -> str:
    """How a quantizer represents values: its bits, and what shares a scale."""
    count = levels(quantizer)
    bits = f"{math.ceil(math.log2(count))} bits" if count else quantizer.dtype
    scales = quantizer.granularity.replace("per-", "per ")
    return bits if quantizer.granularity == "per-value" else f"{bits}, one scale {scales}"


def loudest_channel(channels: Channels) -> str:
    weight = " of its weight" if channels.role == "weight" else ""
    return (
        f"channel {channels.widest}{weight} reaches {words.number(channels.widest_magnitude)}, "
        f"the median channel {words.number(channels.median_magnitude)}"
    )
