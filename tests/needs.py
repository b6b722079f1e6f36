"""What some tests need of the versions that they run with; docs/versions.md counts the tests left out."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from handlens.versions import release

HAS_COLUMNS = sys.version_info >= (3, 11)
NO_COLUMNS = "before Python 3.11, expressions have lines and no columns"

needs_columns = pytest.mark.skipif(not HAS_COLUMNS, reason=NO_COLUMNS)

needs_spans_of_asserts = pytest.mark.skipif(
    release(version("torch")) < (2, 12),
    reason="before torch 2.12, what export asserts of a conversion is shown on its whole line",
)

needs_loops = pytest.mark.skipif(
    release(version("torchao")) < (0, 17), reason="torchao 0.16 quantizes no bodies of loops"
)

needs_written_slices = pytest.mark.skipif(
    release(version("torchao")) < (0, 17),
    reason="torchao 0.16 computes slices of buffers beforehand, and loses what is written to them",
)
