"""Random numbers for two models that run side by side: each draws what it would draw if it ran alone."""

from __future__ import annotations

import random
import sys
from typing import Any, Literal

import torch
from torch import nn

Side = Literal["reference", "actual", "trial"]


class RandomStates(nn.Module):
    """Holds a random state for each side of a comparison graph. Both start from the same state.

    A "trial" draws what the reference is about to draw, and leaves the state of both sides alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[Side, RandomState] = {}
        self._side: Side = "reference"

    def begin(self) -> None:
        """Start a run: both sides start from the current random state."""
        now = RandomState()
        self._states = {"reference": now, "actual": now}
        self._side = "reference"

    def forward(self, side: Side) -> None:
        """Let ``side`` draw from here on."""
        if side == self._side != "trial":
            return
        self._states[self._side] = RandomState()
        self._side = side
        self._states["reference" if side == "trial" else side].restore()


class RandomState:
    """The state of all generators that a model, or a user's own op, may draw from: torch, Python, NumPy."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        # Nothing was drawn on a device that is not in use yet.
        in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._cuda = torch.cuda.get_rng_state_all() if in_use else []
        self._python = random.getstate()
        numpy = _numpy_random()
        self._numpy = numpy.get_state() if numpy else None

    def restore(self) -> None:
        """Set all generators to this state."""
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
        random.setstate(self._python)
        numpy = _numpy_random()
        if numpy and self._numpy is not None:
            numpy.set_state(self._numpy)


def _numpy_random() -> Any:
    return sys.modules.get("numpy.random")
