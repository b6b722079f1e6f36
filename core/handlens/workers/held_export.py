"""Decides whether an exported model can be held in memory, and whether it is still up to date.

The process that exported the model holds it, and forks for every run that starts from it.
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
    """The files that this process reads from now on, with their modification times and sizes.

    Files that a library reads without Python (by mapping them into memory, say) are not noticed.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int] | None] = {}
        self._done = False
        sys.addaudithook(self._hear)

    def add(self, files: Iterable[str]) -> None:
        """Add files that were read before, and stop noticing new ones."""
        self._done = True
        for file in files:
            self._known.setdefault(file, _state(file))

    def has_changed(self) -> bool:
        """True if any of the files has changed since it was read."""
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
    return status.st_mtime_ns, status.st_size


def can_be_held() -> bool:
    """True if this process can fork safely: it has a single thread and no child processes.

    A fork copies no other thread, so code that waits for one would wait forever; and a child process would
    serve several forks at once. The threads of OpenMP, and of libraries that prepare for a fork, are ended
    here; these libraries start them again when they need them.
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
