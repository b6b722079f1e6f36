"""The dice of two models that run side by side: each throws as if it ran alone."""

from __future__ import annotations

import random
import sys
from typing import Any, Literal

import torch
from torch import nn

Side = Literal["reference", "actual", "trial"]


class Dice(nn.Module):
    """Keeps a random state for each side of a comparison; both start from the one that is there.

    A "trial" throws what the reference is about to throw, and leaves no trace.
    """

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[Side, RandomState] = {}
        self._side: Side = "reference"

    def begin(self) -> None:
        """Let both sides start a run from the random state as it is."""
        now = RandomState()
        self._states = {"reference": now, "actual": now}
        self._side = "reference"

    def forward(self, side: Side) -> None:
        """Let ``side`` throw from here on."""
        self._states[self._side] = RandomState()
        self._side = side
        self._states["reference" if side == "trial" else side].restore()


class RandomState:
    """What all generators would give next that a model, or an op that somebody wrote for it, may ask."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        # No generator there throws before the device is in use.
        in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._cuda = torch.cuda.get_rng_state_all() if in_use else []
        self._python = random.getstate()
        numpy = _numpy_random()
        self._numpy = numpy.get_state() if numpy else None

    def restore(self) -> None:
        """Let the generators go on from here."""
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
        random.setstate(self._python)
        numpy = _numpy_random()
        if numpy and self._numpy is not None:
            numpy.set_state(self._numpy)


def _numpy_random() -> Any:
    return sys.modules.get("numpy.random")
