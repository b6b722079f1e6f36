"""What a comparison graph is, and what it has measured at every op."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from handlens.comparison.channels import Parts, summary
from handlens.comparison.random_state import RandomStates
from handlens.comparison.recorder import Measurements, Recorder
from handlens.report import Channels, Quantizer

UNUSED = "nothing reads its output"


@dataclass(frozen=True)
class LostWrite:
    """A write in place that an op of the quantized graph does not see, though the reference's does."""

    writer: Node
    source: Node
    """The node that the reference's op reads."""
    recorder: Recorder
    """Compares the value of ``source`` with the value that the quantized op reads instead."""


@dataclass(frozen=True)
class InputOfModel:
    """An input of the model that an op reads quantized."""

    node: Node
    quantizer: Quantizer
    recorder: Recorder
    """Compares the input with its quantized value."""


@dataclass(frozen=True)
class Compared:
    """One op in both graphs, and the recorders of its statistics."""

    handle: int
    name: str
    """The node's name, after the path of the control-flow bodies that it is in."""
    reference: Node
    actual: Node
    callers: tuple[Node, ...]
    """The control-flow ops in whose bodies it is, innermost first."""
    recorder: Recorder
    quantizers: tuple[Quantizer, ...]
    input: Recorder | None
    """Of the input that the op's weight is multiplied with, if the op has a quantized weight."""
    fan_in: int | None
    weight: Channels | None
    lost_writes: tuple[LostWrite, ...] = ()
    model_inputs: tuple[InputOfModel, ...] = ()
    parts: tuple[tuple[Node, ...], Parts] | None = None
    """Where several inputs come together: their nodes in the reference, and the noise that each brings."""

    @property
    def measured(self) -> Measurements:
        return self.recorder.total

    @property
    def channels(self) -> tuple[Channels, ...]:
        """The channels of the weight and of the output, as far as they share a scale."""
        output = self.measured.magnitudes
        found = (self.weight, None if output is None else summary("output", output))
        return tuple(each for each in found if each is not None)


@dataclass(frozen=True)
class Outputs:
    """The leaves of the outputs of both models for one batch."""

    reference: list[Any]
    actual: list[Any]


@dataclass
class Comparison:
    """A module that computes what the reference computes, and the statistics recorded on the way."""

    module: nn.Module
    compared: tuple[Compared, ...]
    output: Recorder
    random_states: RandomStates
    unmatched: dict[int, str] = field(default_factory=dict)
    """By handle of an op of the reference that was not compared, the reason."""
    batches: int = 0
    """The number of the next batch, from 0 on."""

    @property
    def not_finite(self) -> int:
        """How many NaN the reference has given so far, and how many infinities in its output."""
        nan = sum(each.measured.accumulated.nan for each in self.compared)
        return nan + self.output.total.accumulated.unknown

    @cached_property
    def _recorders(self) -> list[Recorder]:
        return [each for each in self.module.modules() if isinstance(each, Recorder)]

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        """Compare on one batch, whose tensors may be changed. Returns the outputs of both models."""
        self.random_states.begin()
        outputs: list[Outputs] = []

        def note(_: nn.Module, given: tuple[Any, ...]) -> None:
            outputs.append(Outputs(pytree.tree_leaves(given[0]), pytree.tree_leaves(given[1][0])))

        hook = self.output.register_forward_pre_hook(note)
        try:
            with torch.no_grad():
                self.module(*args, **kwargs)
        finally:
            hook.remove()
        self.random_states("reference")
        for each in self._recorders:
            each.end_batch(self.batches)
        self.batches += 1
        return outputs[0]

    @property
    def totals(self) -> list[Any]:
        """What was measured at every place of the graph, to be pooled by ``update`` elsewhere."""
        return [each.total for each in self._measuring]

    def update(self, totals: list[Any]) -> None:
        """Pool what a comparison of the same graphs has measured on other batches.

        The result is that of one comparison on all batches, to the bit, in whatever order they come.
        """
        for mine, total in zip(self._measuring, totals):
            mine.update(total)

    @property
    def _measuring(self) -> list[Recorder | Parts]:
        return [each for each in self.module.modules() if isinstance(each, (Recorder, Parts))]
