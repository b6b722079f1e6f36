"""What a process that was forked cannot take over from the one that has imported torch."""

from __future__ import annotations

import os

import torch

from handlens.workers import progress_bars

_ACCELERATORS = (torch.cuda, torch.xpu)


def renew() -> None:
    """Make anew, in a process that was just forked, what it must not share or has lost."""
    progress_bars.renew_lock()
    # A fork has lost the threads of torch's pool, and the next call that sets a number of threads makes a
    # new pool. In each of OpenMP's threads that is the first call of all, and some of them would find the
    # pool that another one is just replacing: "pool INTERNAL ASSERT FAILED ... Invalid thread pool!"
    torch.set_num_threads(torch.get_num_threads())


def uses_accelerator() -> bool:
    """True if this process has begun to compute on an accelerator."""
    return any(each.is_initialized() for each in _ACCELERATORS)


def loses_accelerators() -> bool:
    """True if something in this process has touched an accelerator, so that its forks cannot use it.

    Torch knows that in a fork only.
    """
    process = os.fork()
    if process == 0:
        os._exit(any(each._is_in_bad_fork() for each in _ACCELERATORS))
    _, status = os.waitpid(process, 0)
    return status != 0
