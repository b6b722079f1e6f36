"""What holds for all tests."""

import os
import signal

from handlens.workers.client import ENVIRONMENT

# Before torch is loaded: tests, workers and servers share the cores, as in somebody's working day.
os.environ.setdefault("GOMP_SPINCOUNT", ENVIRONMENT["GOMP_SPINCOUNT"])

# Whoever starts the tests in the background may have it ignored, and everything that they start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
