"""What processes must not share of tqdm, with which torch draws progress bars where it is installed."""

from __future__ import annotations

import sys
from typing import Any


def end_monitor() -> None:
    """End the thread that watches progress bars."""
    bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if bars is not None and bars.monitor is not None:
        bars.monitor.exit()
        bars.monitor = None


def renew_lock() -> None:
    """Give this process, which was just forked, a lock of its own in the place of tqdm's.

    tqdm's is one for a process and all its forks. A process that is killed while it has the lock never
    releases it, and whatever draws a progress bar later would wait forever.
    """
    tqdm: Any = sys.modules.get("tqdm.std")
    if tqdm is not None and isinstance(vars(tqdm.tqdm).get("_lock"), tqdm.TqdmDefaultWriteLock):
        del tqdm.TqdmDefaultWriteLock.mp_lock
        tqdm.tqdm.set_lock(tqdm.TqdmDefaultWriteLock())
