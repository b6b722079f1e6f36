"""Watches the client's process, so that the server ends with it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

_POLL_S = 3.0


def watch(process: int, on_end: Callable[[], None]) -> threading.Thread | None:
    """Call ``on_end`` once a process that is not our child has ended, in a thread of its own.

    The other threads may wait for that process forever, so none of them could do it. A process that
    cannot be seen is not watched: a client in another container is not gone.
    """
    if process <= 0 or not _exists(process):
        logger.info("the client's process %d is not visible from here: not watched", process)
        return None

    def wait() -> None:
        _wait(process)
        on_end()

    thread = threading.Thread(target=wait, name="the client's end", daemon=True)
    thread.start()
    return thread


def _wait(process: int) -> None:
    if sys.platform == "win32" or not hasattr(os, "pidfd_open"):
        while _exists(process):
            time.sleep(_POLL_S)
        return
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(process)
        # select() accepts no file descriptor over 1023.
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()
        os.close(handle)


if sys.platform == "win32":
    _SYNCHRONIZE = 0x00100000
    _STILL_RUNS = 0x102

    def _exists(process: int) -> bool:
        # os.kill would send a Control-C.
        kernel = ctypes.WinDLL("kernel32")
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(_SYNCHRONIZE, False, process))
        if not handle:
            return False
        found: bool = kernel.WaitForSingleObject(handle, 0) == _STILL_RUNS
        kernel.CloseHandle(handle)
        return found

else:

    def _exists(process: int) -> bool:
        with contextlib.suppress(PermissionError):
            try:
                os.kill(process, 0)
            except (ProcessLookupError, OverflowError):
                return False
        return True
