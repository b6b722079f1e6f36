"""What the worker does with processes, beyond ``os``: end them with those that they belong to.

On Linux only, a process can adopt the orphans among its descendants and see its children.
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
    """Have this process killed as soon as its parent ends, or no more."""
    _set(_PR_SET_PDEATHSIG, signal.SIGKILL if ends else 0)


def be_alone() -> None:
    """Be the leader of a group that is killed as one, end with the parent, and adopt orphans."""
    parent = os.getppid()
    os.setsid()
    end_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    adopt_orphans()


def adopt_orphans() -> None:
    """Be the parent of those descendants whose own parents end."""
    _set(_PR_SET_CHILD_SUBREAPER, 1)


def kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def children() -> set[int]:
    """The children of this process, those included that have ended and were not waited for."""
    found: set[int] = set()
    for file in glob.glob("/proc/self/task/*/children"):
        with open(file) as processes:
            found.update(map(int, processes.read().split()))
    return found


def kill_children(keep: Collection[int] = ()) -> None:
    """Kill the children of this process, but for some. What they have started is handed up to it."""
    for process in children().difference(keep):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def end_children() -> None:
    """Kill the descendants of this process, and wait until they are gone."""
    while children():
        kill_children()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _set(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)
