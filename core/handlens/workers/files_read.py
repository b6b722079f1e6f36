"""The files that a process reads, whether they are still the same, and whether it has started processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

# Audit events.
_STARTS = (
    *("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system"),
    *("subprocess.Popen", "_winapi.CreateProcess"),
)


class FilesRead:
    """The files that this process reads from now on, with their modification times and sizes.

    Files that a library reads without Python (by mapping them into memory, say) are not noticed.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int] | None] = {}
        self._done = False
        self.has_started_processes = False
        """True if Python has started a process; what a library starts is not noticed."""
        sys.addaudithook(self._hear)

    def add(self, files: Iterable[str], but: str | None) -> None:
        """Add files that were read before, and stop noticing new ones.

        ``but`` is a file whose text comes with each request.
        """
        self._done = True
        for file in files:
            self._known.setdefault(file, _state(file))
        if but is not None:
            self._known.pop(but, None)

    @property
    def known(self) -> dict[str, tuple[int, int] | None]:
        """The files, with their modification times in nanoseconds and sizes; None for one that is gone."""
        return dict(self._known)

    def has_changed(self) -> bool:
        """True if any of the files has changed since it was read."""
        return have_changed(self._known)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STARTS:
            self.has_started_processes = True
        if event != "open" or self._done:
            return
        file, mode, flags = arguments
        # Python writes compiled modules when it reads sources, and those are added by their names.
        if isinstance(file, str) and not file.endswith(".pyc"):
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if mode is None else "r" not in mode
            if not writes and not file.startswith("/proc/"):
                path = os.path.abspath(file)
                self._known.setdefault(path, _state(path))


def have_changed(known: Mapping[str, tuple[int, int] | None]) -> bool:
    """True if any of the ``known`` files of a process has changed since."""
    return any(_state(file) != state for file, state in known.items())


def _state(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size
