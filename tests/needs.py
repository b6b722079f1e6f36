"""What some tests need of the versions that they run with; docs/versions.md counts the tests left out."""

from __future__ import annotations

import sys

import pytest

needs_columns = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="before Python 3.11, expressions have lines and no columns"
)
