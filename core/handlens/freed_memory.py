"""Gives memory that was freed back to the system, where the C library does not."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Give back all that was freed, if the C library is that of most Linux systems, glibc.

    It holds on to what was freed before something that is still used: after quantizing a large model, to
    three times the memory of the quantized weights.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
