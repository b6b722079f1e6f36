"""The small models on which debug handles, spans and comparisons are tested."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch._higher_order_ops.map import map as map_over


class ConvSqueezeConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv2d = nn.Conv2d(3, 3, 1)
        self.conv1d = nn.Conv1d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1d(torch.squeeze(self.conv2d(x), -1))


class TwoLinears(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 5)
        self.second = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.split(self.linear(x), 2, dim=-1))


class CondInMap(nn.Module):
    def forward(self, xs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        def when_positive(x: torch.Tensor) -> torch.Tensor:
            return x.sin() + 1

        def otherwise(x: torch.Tensor) -> torch.Tensor:
            return x.cos()

        def body(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.cond(x.sum() > 0, when_positive, otherwise, (x,)) * y

        return map_over(body, xs, y) + 1  # type: ignore[arg-type]


def _inputs(*shapes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


CASES: dict[str, tuple[type[nn.Module], tuple[Any, ...]]] = {
    "conv2d-squeeze-conv1d": (ConvSqueezeConv, _inputs((1, 3, 4, 1))),
    "two-linears": (TwoLinears, _inputs((3, 6))),
    "split": (Split, _inputs((3, 6))),
    "cond-in-map": (CondInMap, _inputs((3, 4), (4,))),
}
