"""Two graphs run one after the other, for models whose merged graph does not compute what they compute."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from handlens.capture.handles import nodes_by_handle
from handlens.comparison.compared import Comparison
from handlens.comparison.random_state import RandomStates
from handlens.comparison.recorder import Recorder


def outputs_alone(reference: GraphModule, actual: GraphModule) -> Comparison:
    """A comparison of the outputs of two graphs alone, each run by itself on state of its own."""
    output = Recorder()
    random_states = RandomStates()
    reason = "the ops of this model cannot be compared as they run by themselves"
    unmatched = dict.fromkeys(nodes_by_handle(reference), reason)
    models = _OneAfterTheOther(
        copy.deepcopy(reference), copy.deepcopy(actual), output, random_states
    )
    return Comparison(models, (), output, random_states, unmatched)


class _OneAfterTheOther(nn.Module):
    def __init__(
        self,
        reference: GraphModule,
        actual: GraphModule,
        output: Recorder,
        random_states: RandomStates,
    ) -> None:
        super().__init__()
        self.reference, self.actual = reference, actual
        self.output, self.random_states = output, random_states

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        other_args, other_kwargs = pytree.tree_map_only(Tensor, torch.clone, (args, kwargs))
        self.random_states("reference")
        result = self.reference(*args, **kwargs)
        self.random_states("actual")
        self.output(result, (self.actual(*other_args, **other_kwargs),))
        return result
