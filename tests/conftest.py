"""What holds for all tests."""

import os

from handlens.client import ENVIRONMENT

# Before torch is loaded: tests, workers and servers share the cores, as in somebody's working day.
os.environ.setdefault("GOMP_SPINCOUNT", ENVIRONMENT["GOMP_SPINCOUNT"])
