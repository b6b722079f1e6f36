"""How an interpreter gets ready for runs: its pipes, torch, and a small model that fills torch's tables."""

from __future__ import annotations

import gc
import os
import platform
import signal
import sys
import traceback

from handlens.workers import wire


def take_pipes() -> tuple[int, int]:
    """Duplicate standard input and output for our messages.

    The user's code then reads nothing, and prints to standard error.
    """
    # Control-C in a terminal reaches the whole process group; the client decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, events = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, events


def get_ready(events: int, forks: bool = False) -> bool:
    """Import torch, warm up, and say so. Returns False if this interpreter is unusable, and says why.

    One that ``forks`` says also whether its forks can use accelerators.
    """
    # Nearly all that an import makes stays. To look for garbage there takes a fifth of the start.
    gc.disable()
    try:
        import torch
        import torchao
        import torchao.quantization.pt2e.quantize_pt2e

        import handlens.workers.execution  # noqa: F401
        from handlens import patches
        from handlens.workers import after_fork
        from handlens.workers.warming import warm_up
    except ImportError as error:
        wire.write(events, {"event": "unusable", "message": _advice(error)})
        return False
    warm_up()
    patches.watch()
    # The garbage collector of a run must not visit these objects: it would take its time, and in a fork
    # copy every page of memory.
    gc.enable()
    gc.collect()
    gc.freeze()
    versions = {"torch": str(torch.__version__), "torchao": str(torchao.__version__)}
    said = {"process": os.getpid(), "python": platform.python_version(), **versions}
    if forks:
        said["loses_accelerators"] = after_fork.loses_accelerators()
    wire.write(events, {"event": "ready", **said})
    return True


def _advice(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name in ("torch", "torchao"):
        return (
            f"{error.name} is not installed in {sys.executable}. "
            f"Run `{sys.executable} -m pip install torch torchao`, or choose another interpreter."
        )
    # A part of torch, or something it needs, is missing; the traceback says which.
    traceback.print_exc()
    return f"The worker cannot be imported in {sys.executable}: {error}"
