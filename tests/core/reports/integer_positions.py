"""Positions computed from a mask in integers, then looked up (OPT). With x86 the observers raise:
"histogram_cpu" not implemented for 'Long'.

A good tool: quantizes no integers, whichever quantizer it is.
"""

import torch
from torch import Tensor, nn


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 16)
        self.out = nn.Linear(16, 8)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        positions = torch.cumsum(mask, dim=1)
        positions = (positions * mask - 1).long() + 2
        return self.out(x + self.table(positions))


def handlens_positions() -> dict[str, object]:
    torch.manual_seed(0)
    mask = torch.ones(2, 6, dtype=torch.long)
    return {
        "model": Positions().eval(),
        "example_inputs": (torch.randn(2, 6, 16), mask),
        "recipe": "x86",
    }
