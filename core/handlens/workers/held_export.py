"""Decides whether an exported model can be held in memory.

The process that exported the model holds it, and forks for every run that starts from it.
"""

from __future__ import annotations

import ctypes
import os
import re
import time

from handlens.workers import after_fork, processes

_PAUSE_HARD = 2
_PATIENCE_S = 0.05
_THREADS = "/proc/self/task"


def can_be_held() -> bool:
    """True if this process can fork safely: it has a single thread, no child processes, and no accelerator.

    A fork copies no other thread, so code that waits for one would wait forever; a child process would
    serve several forks at once; and an accelerator that is in use cannot be used by a fork. The threads of
    OpenMP, and of libraries that prepare for a fork, are ended here; these libraries start them again when
    they need them.
    """
    if not os.path.isdir(_THREADS) or processes.children() or after_fork.uses_accelerator():
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
