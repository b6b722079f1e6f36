"""What an op writes in place does not reach its readers."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.report import Cause


def explain(loss: Loss) -> Cause:
    names = ", ".join(dict.fromkeys(each.name for each in loss.missed_by))
    read = "reads" if len(loss.missed_by) == 1 else "read"
    return Cause(
        f"what it writes in place is lost: the quantized graph gives each reader a copy of its own, and "
        f"{names} after it {read} another one",
        "compute a new value instead of writing in place",
    )
