"""Which other recipes work where one has failed. They are tried on the same export, not guessed."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from handlens import recipes
from handlens.capture.export import Captured
from handlens.capture.handles import nodes_by_handle
from handlens.comparison.memory import state_restored
from handlens.comparison.random_state import RandomState
from handlens.comparison.recorder import pool
from handlens.comparison.statistics import Statistics
from handlens.loading.inputs import Inputs, cloned
from handlens.loading.subject import Subject

BUDGET_S = 20.0
_ENOUGH = 3

# Recipes that need no calibration come first, because they take the least time.
_TRIED = ("int8-dynamic", "bf16", "x86", "xnnpack", "arm", "int8-weight-only", "fp16")


class _TimeIsUp(BaseException):
    """The budget is spent. No Exception, so that no library handles it as a failure of its own."""


def working_recipes(captured: Captured, subject: Subject, failed: str) -> list[str]:
    """Find a few built-in recipes that work for an exported model, other than the one that ``failed``.

    A recipe works if it quantizes an op, raises nothing, and gives finite values where the float model
    does. It is calibrated and run on the example inputs. The search ends after ``BUDGET_S`` seconds.
    """
    inputs: Inputs = (subject.args, subject.kwargs)
    example = replace(subject, calibration=[inputs], evaluation=[inputs])
    found: list[str] = []
    try:
        with _limit(BUDGET_S):
            others = (name for name in _TRIED if name not in failed.split("+"))
            working = (name for name in others if _works(name, captured, example))
            # Extended one by one, so that recipes found before the time is up stay.
            found.extend(itertools.islice(working, _ENOUGH))
    except _TimeIsUp:
        pass
    return found


def _works(name: str, captured: Captured, subject: Subject) -> bool:
    try:
        quantized = recipes.resolve(name).quantize(captured, subject)
        [inputs] = subject.evaluation_inputs()
        start = RandomState()
        reference = _outputs(quantized.reference, inputs)
        start.restore()
        actual = _outputs(quantized.actual, inputs)
    except Exception:
        return False
    statistics = Statistics()
    pool(statistics, reference, actual)
    quantizes = bool(nodes_by_handle(quantized.reference).keys() - quantized.in_float.keys())
    return quantizes and statistics.verdict in ("ok", "exact", "no-signal")


def _outputs(model: GraphModule, inputs: Inputs) -> list[object]:
    args, kwargs = cloned(inputs)
    with state_restored(model), torch.no_grad():
        return [
            each
            for each in pytree.tree_leaves(model(*args, **kwargs))
            if isinstance(each, torch.Tensor)
        ]


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise _TimeIsUp in the block after some seconds, between two operations of Python."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        # Windows has no such signal, and Python delivers signals to the main thread only.
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
