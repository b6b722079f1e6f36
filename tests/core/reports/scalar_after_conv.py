"""A convolution plus a number, as in scaled skip connections (FastViT): x86 raises AssertionError
in annotate.

A good tool: quantizes the convolution and leaves the addition alone.
"""

import torch
from torch import Tensor, nn


class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) + 1.0
        return self.second(torch.relu(x))


def handlens_shifted() -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "model": Shifted().eval(),
        "example_inputs": (torch.randn(2, 3, 16, 16),),
        "recipe": "x86",
    }
