"""Calibration batches run once for a model: only observers that see something new run again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from handlens import recipes
from handlens.loading.subject import Subject

from ..quantizing import captured


class Counted:
    """Batches that are the same each time, and the number of times that they were asked for."""

    def __init__(self) -> None:
        self.times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        generator = torch.Generator().manual_seed(0)
        for scale in (1.0, 5.0):
            yield (torch.randn(2, 8, generator=generator) * scale,)


class Shared(nn.Module):
    """Two linears whose outputs share a scale, as ``cat`` reads both."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.one(x), self.other(x)), dim=1)


class Noisy(Shared):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand(8)[0]


class Counting(Shared):
    """A model that changes a constant of its own in each run."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.count, Tensor)
        self.count.add_(1.0)
        return super().forward(x) + self.count


def numbers(model: GraphModule) -> list[str]:
    return [str(each.args[1:]) for each in model.graph.nodes if "quantize" in each.name]


def subject(model: nn.Module) -> tuple[Subject, Counted]:
    batches = Counted()
    return Subject(model.eval(), next(iter(batches)), calibration=batches), batches


@pytest.mark.parametrize("recipe", ["x86", "xnnpack"])
def test_the_same_model_runs_no_batch_again(recipe: str) -> None:
    given, batches = subject(Shared())
    program = captured(given.model, *given.args)
    first = recipes.resolve(recipe).quantize(program, given)
    times = batches.times
    second = recipes.resolve(recipe).quantize(program, given)
    assert batches.times == times
    assert numbers(second.actual) == numbers(first.actual)
    assert second.observed == first.observed
    assert any(first.observed.values())


def test_an_observer_that_loses_a_tensor_runs_again() -> None:
    given, batches = subject(Shared())
    program = captured(given.model, *given.args)
    recipe = recipes.resolve("xnnpack")
    recipe.quantize(program, given)
    times = batches.times
    kept = replace(given, keep_float=(":cat",))
    after = recipe.quantize(program, kept)
    assert batches.times == times + 1
    alone = recipe.quantize(program, replace(kept, calibration=Counted()))
    assert numbers(after.actual) == numbers(alone.actual)
    assert after.observed == alone.observed


@pytest.mark.parametrize("change", ["batches", "program", "noise", "state"])
def test_what_is_not_the_same_runs_anew(change: str) -> None:
    given, batches = subject({"noise": Noisy, "state": Counting}.get(change, Shared)())
    program = captured(given.model, *given.args)
    recipe = recipes.resolve("x86")
    recipe.quantize(program, given)
    times = batches.times
    if change == "batches":
        batches = Counted()
        times = 0
        given = replace(given, calibration=batches)
    if change == "program":
        program = captured(given.model, *given.args)
    recipe.quantize(program, given)
    assert batches.times == times + 1
