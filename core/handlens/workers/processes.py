"""Process groups, orphans and children, beyond what ``os`` offers.

Adopting orphans, listing children, and finding processes by a mark work on Linux only. Elsewhere, these do
nothing, and find nobody.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

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


def end_group_with(lifeline: int) -> None:
    """Have this process's group killed soon after the other end of the pipe ``lifeline`` is closed.

    A process of its own sees to that: in this one, a library may hold Python's lock forever. It leaves this
    one the time to end what has left the group.
    """
    script = "exec 3<&0; (read -r _ <&3; sleep 1; kill -KILL 0) &"
    null = subprocess.DEVNULL
    subprocess.run(["/bin/sh", "-c", script], stdin=lifeline, stdout=null, stderr=null, check=True)
    os.close(lifeline)


def end_group() -> NoReturn:
    """Kill this process, its descendants, and its group if it leads one."""
    if sys.platform != "win32":
        end_children()
        if os.getpgrp() == os.getpid():
            kill_group(os.getpid())
    os._exit(1)


def kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)


def kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def children(process: int | None = None) -> set[int]:
    """The children of a process, including those that have ended and were not waited for.

    Without ``process``, those of this one.
    """
    found: set[int] = set()
    for file in glob.glob(f"/proc/{process or 'self'}/task/*/children"):
        # Another process may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(file) as listed:
            found.update(map(int, listed.read().split()))
    return found


def descendants(process: int) -> set[int]:
    """The children of a process, their children, and so on."""
    found: set[int] = set()
    waiting = [process]
    while waiting:
        started = children(waiting.pop()) - found
        found |= started
        waiting += started
    return found


def kill_children(spare: Collection[int] = ()) -> None:
    """Kill the children of this process, except ``spare``. It then adopts what they have started."""
    for process in children().difference(spare):
        kill(process)


def end_children() -> None:
    """Kill the descendants of this process, and wait until all have ended."""
    while children():
        kill_children()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def kill_marked(entry: str) -> None:
    """Kill every process that has ``entry``, a name and a value, in its environment."""
    wanted = entry.encode()
    killed: set[int] = set()
    before = -1
    # Each process may have started another one meanwhile.
    while len(killed) > before:
        before = len(killed)
        for file in glob.glob("/proc/[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if wanted in Path(file).read_bytes().split(b"\0"):
                    process = int(Path(file).parent.name)
                    kill(process)
                    killed.add(process)


def _set(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)
