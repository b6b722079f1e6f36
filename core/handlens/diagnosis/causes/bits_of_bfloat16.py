"""The significant bits of bfloat16 are all that an op loses."""

from __future__ import annotations

from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.ranges import largest
from handlens.report import NO_CAUSE, Cause, FloatFormat

# How far, in dB, a measurement may be from the noise floor and still be rounding.
_NEAR_DB = 6.0

# The other type, which is advised. A report has the formats of what was run alone.
_FLOAT16 = FloatFormat(significant_bits=11, smallest_normal=2.0**-14, largest=65504.0)


def explain(loss: Loss) -> Cause:
    op, output = loss.op, loss.output
    if output.format is None or output.dtype != "bfloat16" or not loss.is_rounding(_NEAR_DB):
        return NO_CAUSE
    rms = op.reference_rms
    fits = rms is not None and rms > _FLOAT16.smallest_normal and largest(op) < _FLOAT16.largest
    return Cause(
        f"bfloat16 has {output.format.significant_bits} significant bits, "
        f"which is {op.floor_sqnr_db:.1f} dB for any values",
        "use float16, which has three bits more" if fits else "",
    )
