"""Names units of ops as a target's ``keep_float`` and as people do."""

from __future__ import annotations

from collections.abc import Set

from torch.fx import GraphModule

from handlens.advice_report import Change
from handlens.capture.export import Captured
from handlens.capture.handles import nodes_by_handle
from handlens.capture.nodes import module_of, op_name
from handlens.recipes.switching import Switch


class Names:
    """The names of the ops of a model."""

    def __init__(self, captured: Captured, reference: GraphModule, switch: Switch) -> None:
        self._nodes = nodes_by_handle(reference)

    def change(self, unit: Set[int]) -> Change:
        """The change that keeps the ops of a unit in float."""
        handles = tuple(sorted(unit))
        words = [module_of(self._nodes[each]) or op_name(self._nodes[each]) for each in handles]
        return Change("keep-float", handles, handles, ", ".join(dict.fromkeys(words)))
