"""nn.Conv2d(padding="valid"), as in SigLIP's patch embedding: x86 raises "conv2d is not an aten
conv2d operator"; xnnpack leaves it in float.

A good tool: treats padding given as a word like padding given as a number.
"""

import torch
from torch import Tensor, nn


class Patches(nn.Module):
    def __init__(self, padding: str) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, padding=padding)
        self.out = nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.embed(x)))


def _target(padding: str, recipe: str) -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "model": Patches(padding).eval(),
        "example_inputs": (torch.randn(2, 3, 16, 16),),
        "recipe": recipe,
    }


def handlens_valid() -> dict[str, object]:
    return _target("valid", "x86")


def handlens_same() -> dict[str, object]:
    return _target("same", "x86")


def handlens_valid_phone() -> dict[str, object]:
    return _target("valid", "xnnpack")
