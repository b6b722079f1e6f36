"""Whether an exported model can be kept in memory, and for how long it is what an export would give.

It is kept by the process that exported it, which forks for every run that goes on from there.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import time
from collections.abc import Iterable
from typing import Any

from handlens.workers import processes

_PAUSE_HARD = 2
_PATIENCE_S = 0.05
_THREADS = "/proc/self/task"


class FilesRead:
    """The files that this process opens to read from now on, as they were then.

    What is read by other means than Python's (memory-mapped by a library, say) is not seen.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int] | None] = {}
        self._done = False
        sys.addaudithook(self._hear)

    def add(self, files: Iterable[str]) -> None:
        """Know these as well, and no others that are opened from now on."""
        self._done = True
        for file in files:
            self._known.setdefault(file, _state(file))

    def has_changed(self) -> bool:
        """Whether any of them is another one than it was."""
        return any(_state(file) != state for file, state in self._known.items())

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or self._done:
            return
        file, mode, flags = arguments
        # Python writes compiled modules when it reads sources, and those are added by their names.
        if isinstance(file, str) and not file.endswith(".pyc"):
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if mode is None else "r" not in mode
            if not writes and not file.startswith("/proc/"):
                path = os.path.abspath(file)
                self._known.setdefault(path, _state(path))


def _state(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None
    # A device or a pipe is another one at every read.
    return status.st_mtime_ns, status.st_size


def can_be_kept() -> bool:
    """Whether this process has one thread only, and so can fork: no other thread is there after a fork,
    and whoever waits for it waits forever. What processes it has started would serve several at once.

    The threads of OpenMP and of libraries that provide for a fork are ended here; those start them again
    when they need them.
    """
    if not os.path.isdir(_THREADS) or processes.children():
        return False
    _end_openmp_threads()
    if _is_single_threaded():
        return True
    # OpenBLAS ends its threads before a fork, and it takes a fork to make it do so.
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    return _is_single_threaded()


def _is_single_threaded() -> bool:
    # A thread that has been told to end may take a moment.
    end = time.monotonic() + _PATIENCE_S
    while len(os.listdir(_THREADS)) > 1:
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def _end_openmp_threads() -> None:
    with open("/proc/self/maps") as maps:
        libraries = set(re.findall(r"/\S*/lib[gi]?omp\S*\.so\S*", maps.read()))
    for library in libraries:
        pause = getattr(ctypes.CDLL(library), "omp_pause_resource_all", None)
        if pause is not None:
            pause(_PAUSE_HARD)
