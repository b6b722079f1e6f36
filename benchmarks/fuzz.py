"""Fuzz for as long as asked: ``python -m benchmarks.fuzz --seconds 600``.

Runs the fuzzers of tests/reliability again and again, each time with other examples, and stops at the first
that fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

TESTS = (
    "tests/reliability/test_hostile_messages.py",
    "tests/reliability/test_hostile_workspaces.py",
)
FUZZERS = "answered_once or between or any_"


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="after which no round begins")
    parser.add_argument(
        "--factor", type=int, default=10, help="examples a round, times those in CI"
    )
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    rounds = 0
    while time.monotonic() < end:
        rounds += 1
        print(f"round {rounds}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-k", FUZZERS, *TESTS],
            env={**os.environ, "HANDLENS_FUZZ": str(options.factor)},
        )
        if done.returncode != 0:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
