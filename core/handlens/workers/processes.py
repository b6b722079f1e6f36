"""Process groups, orphans and children, beyond what ``os`` offers.

Adopting orphans, and listing children, work on Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import signal
import sys
from collections.abc import Collection

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def end_with_parent(ends: bool = True) -> None:
    """Have the system kill this process when its parent ends; no longer, if ``ends`` is False."""
    _set(_PR_SET_PDEATHSIG, signal.SIGKILL if ends else 0)


def be_alone() -> None:
    """Make this process the leader of its own group, which ends with its parent and adopts orphans."""
    parent = os.getppid()
    os.setsid()
    end_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    adopt_orphans()


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parents end."""
    _set(_PR_SET_CHILD_SUBREAPER, 1)


def kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def children() -> set[int]:
    """The children of this process, including those that have ended and were not waited for."""
    found: set[int] = set()
    for file in glob.glob("/proc/self/task/*/children"):
        with open(file) as processes:
            found.update(map(int, processes.read().split()))
    return found


def kill_children(spare: Collection[int] = ()) -> None:
    """Kill the children of this process, except ``spare``. It then adopts what they have started."""
    for process in children().difference(spare):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def end_children() -> None:
    """Kill the descendants of this process, and wait until all have ended."""
    while children():
        kill_children()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _set(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)
