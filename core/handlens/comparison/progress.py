"""How far a comparison is, told while it runs."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence

from torch import nn

from handlens.capture.nodes import module_of
from handlens.comparison.compared import Compared, Comparison
from handlens.request import Progress

# How often to tell, in seconds: as often as a person can read.
_EVERY_S = 0.2

_NUMBERED = re.compile(r"(?P<container>(?:[^.]+\.)*?)(?P<number>\d+)(?:\.|$)")


class ProgressTeller:
    """Tells the ops of a batch that are done, and the layer that they are in.

    The share is that of the first batch: how many there are is not known.
    """

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._told = 0.0
        self.batch = 1
        """The number of the batch that is compared."""

    def watch(self, comparison: Comparison) -> None:
        """Tell how far the comparison is when it runs."""
        layers = _layers(comparison.compared)
        done: set[int] = set()
        for each in comparison.compared:

            def note(_: nn.Module, given: object, result: object, op: Compared = each) -> None:
                done.add(op.handle)
                if (now := time.monotonic()) >= self._told + _EVERY_S:
                    self._told = now
                    share = len(done) / len(comparison.compared)
                    layer, count = layers.get(op.handle, (None, None))
                    self._tell(Progress("compare", share, layer, count, self.batch))

            each.recorder.register_forward_hook(note)


def _layers(compared: Sequence[Compared]) -> dict[int, tuple[int, int]]:
    """By handle of an op in a layer, the layer's number, from 1 on, and how many there are.

    Layers are the modules of the list that most ops run in.
    """
    found = {each.handle: _NUMBERED.match(module_of(each.reference)) for each in compared}
    numbers = {h: (m["container"], int(m["number"])) for h, m in found.items() if m is not None}
    if not numbers:
        return {}
    [(container, _)] = Counter(each for each, _ in numbers.values()).most_common(1)
    there = sorted({number for each, number in numbers.values() if each == container})
    return {
        handle: (there.index(number) + 1, len(there))
        for handle, (each, number) in numbers.items()
        if each == container and len(there) > 1
    }
