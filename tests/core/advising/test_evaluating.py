"""What is held of one graph gives the outputs of the next one, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from handlens import recipes
from handlens.advising.evaluating import Evaluator, Numbering, can_be_reused, outputs
from handlens.comparison.random_state import RandomState
from handlens.loading.subject import Subject
from handlens.recipes import Quantized

from ..quantizing import captured


class Net(nn.Module):
    """Two convolutions and a head, with a step of its own in between."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 4)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.first(x))
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


def overwritten(x: Tensor) -> Tensor:
    return torch.relu_(x * 2.0)


def read_after_the_write(x: Tensor) -> Tensor:
    scaled = x * 2.0
    torch.relu_(scaled)
    return scaled + x


def read_beside_the_result(x: Tensor) -> Tensor:
    scaled = x * 2.0
    view = scaled.permute(0, 1, 3, 2)
    # The sum reads the written memory by two names, and only one is the result of the write.
    return torch.relu_(scaled) + view


def written_in_part(x: Tensor) -> Tensor:
    y = x * 2.0
    y[:, 0] = 0.0
    return y


def quantized(between: Callable[[Tensor], Tensor], recipe: str) -> tuple[Quantized, Any]:
    torch.manual_seed(0)
    model, x = Net(between).eval(), torch.randn(2, 3, 8, 8)
    batches = [((x,), dict[str, Any]())]
    subject = Subject(model, (x,), calibration=batches)
    return recipes.resolve(recipe).quantize(captured(model, x), subject), batches[0]


@pytest.mark.parametrize("recipe", ["x86", "xnnpack", "bf16", "int8-dynamic"])
@pytest.mark.parametrize(
    "between",
    [torch.relu, overwritten, read_after_the_write, read_beside_the_result, written_in_part],
)
def test_switched_graphs_give_what_they_give_by_themselves(
    between: Callable[[Tensor], Tensor], recipe: str
) -> None:
    result, inputs = quantized(between, recipe)
    assert result.switch is not None
    switch, start = result.switch(), RandomState()
    evaluator = Evaluator(inputs, start)
    numbering = Numbering()
    graphs: list[GraphModule] = [result.actual]
    kept: frozenset[int] = frozenset()
    for unit in switch.units:
        kept |= unit
        graphs += [switch.graph(unit), switch.graph(kept)]
    for number, graph in enumerate(graphs):
        if number % 3 == 0 and can_be_reused(graph):
            evaluator.hold(graph, numbering.of(graph))
        alone = outputs(graph, inputs, start)
        numbers = numbering.of(graph) if can_be_reused(graph) else None
        for mine, theirs in zip(evaluator.outputs(graph, numbers), alone, strict=True):
            assert torch.equal(mine, theirs)


def test_a_write_that_others_see_forbids_reuse() -> None:
    for between, can in (
        (torch.relu, True),
        (overwritten, True),
        (read_after_the_write, True),
        (read_beside_the_result, False),
        (written_in_part, False),
    ):
        assert can_be_reused(quantized(between, "x86")[0].reference) is can
