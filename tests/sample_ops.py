"""Ops as a report has them, for tests that need no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlens.diagnosis import judge
from handlens.report import (
    Channels,
    Coverage,
    Finding,
    FloatFormat,
    OpReport,
    Quantizer,
    Report,
    Span,
)

FILE = "model.py"


def sample_op(handle: int = 1, sqnr_db: float | None = 12.0, **fields: Any) -> OpReport:
    """A convolution on a line of its own that reads the op before it, and introduces nothing."""
    line = fields.pop("line", handle)
    given: dict[str, Any] = {
        "handle": handle,
        "op": "aten.conv2d.default",
        "node": "conv2d",
        "module": "",
        "inputs": (handle - 1,) if handle > 1 else (),
        "spans": (Span(FILE, line, 4, line, 9),),
        "shown": 0,
        "verdict": "exact" if sqnr_db is None else "ok",
        "sqnr_db": sqnr_db,
        "introduced_verdict": "exact",
        "introduced_sqnr_db": None,
        "introduced_share": 0.0,
        "floor_sqnr_db": None,
        "mse": None,
        "max_abs_error": None,
        "cosine": None,
        "reference_range": (None, None),
        "actual_range": (None, None),
        "saturated": 0.0,
    }
    return OpReport(**(given | fields))


def losing_op(handle: int = 1, sqnr_db: float | None = 12.0, **fields: Any) -> OpReport:
    """An op that introduces all that is lost at its output."""
    given = {"introduced_verdict": "ok", "introduced_sqnr_db": sqnr_db, "introduced_share": 1.0}
    return sample_op(handle, sqnr_db, **(given | fields))


def quantizer(role: Any = "output", scale: float | None = 0.1, **fields: Any) -> Quantizer:
    """An 8-bit quantizer with one scale; its values are unsigned if it is that of an output."""
    signed = role == "weight"
    given: dict[str, Any] = {
        "dtype": "int8" if signed else "uint8",
        "granularity": "per-tensor",
        "scale": None if scale is None else (scale, scale),
        "zero_point": (0, 0),
        "quant_min": -127 if signed else 0,
        "quant_max": 127 if signed else 255,
        "rms_scale": scale,
    }
    return Quantizer(role, **(given | fields))


_FORMATS = {
    "bfloat16": FloatFormat(8, 2.0**-126, 3.38953139e38),
    "float16": FloatFormat(11, 2.0**-14, 65504.0),
}


def half(dtype: str, role: Any = "output") -> Quantizer:
    """A cast to half precision."""
    unscaled = (None, None, None, None)
    return Quantizer(role, dtype, "per-value", *unscaled, format=_FORMATS[dtype])


def diagnosed(ops: Sequence[OpReport]) -> list[Finding]:
    """The findings of a report that has nothing but ops."""
    coverage = Coverage(len(ops), len(ops), len(ops))
    report = Report("main", FILE, "x86", "ok", coverage=coverage, ops=tuple(ops))
    return list(judge(report, (), {}, Span(FILE, 1, 0, 1, 1)).findings)


def channels(widest: float, median: float, role: Any = "output") -> Channels:
    """32 channels of which number 17 has the largest magnitude."""
    return Channels(role, 32, 17, widest, median)
