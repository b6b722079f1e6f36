"""The ops of a report as a graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from handlens.report import OpReport


class Neighbours:
    """The ops of a report, by their handle and by what they read."""

    def __init__(self, ops: Iterable[OpReport]) -> None:
        self.by_handle: dict[int, OpReport] = {}
        self._readers: dict[int, list[OpReport]] = defaultdict(list)
        for op in ops:
            self.by_handle[op.handle] = op
            for each in op.inputs:
                self._readers[each].append(op)

    def readers(self, op: OpReport) -> list[OpReport]:
        """The ops that read the output of ``op``."""
        return self._readers[op.handle]
