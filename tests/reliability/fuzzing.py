"""How long the fuzzers look: the same few examples in every test run, others and more if asked to.

``python -m benchmarks.fuzz --seconds 600`` asks.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

FACTOR = int(os.environ.get("HANDLENS_FUZZ", "0"))
"""How many times as many examples as in a test run, drawn anew."""


def bounded(examples: int) -> settings:
    """Settings for about so many examples in a test run."""
    return settings(
        max_examples=examples * max(FACTOR, 1),
        derandomize=not FACTOR,
        database=None,
        deadline=None,
        # An example that hangs would be tried again and again.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
