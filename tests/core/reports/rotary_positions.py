"""Source: NVIDIA/Megatron-LM #535, huggingface/transformers PR #29285, huggingface/candle PR #3520:
rotary embeddings in bf16/fp16 are wrong at long positions.

Cause: positions are cast to the dtype of inv_freq, and bfloat16 has integers up to 256 only:
neighbours get one and the same angle; cos and sin of the rounded angle have nothing to do with the
right one.
A good tool says: the loss begins at the cast of the positions (`positions.type_as(...)`) or the
product with inv_freq; cos/sin, which show it, only inherit it. Compute the phases in float32.
"""

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        steps = torch.arange(0, width, 2).float() / width
        self.register_buffer("inv_freq", 1.0 / 10000**steps)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        t = positions.type_as(self.inv_freq)
        angles = torch.outer(t, self.inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


def _half_turn(x: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat((-right, left), dim=-1)


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rotary = Rotary(16)
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        cos, sin = self.rotary(positions)
        q, k = self.q(x), self.k(x)
        q = q * cos + _half_turn(q) * sin
        k = k * cos + _half_turn(k) * sin
        return q @ k.transpose(-2, -1)


def _target(recipe: str) -> dict[str, object]:
    torch.manual_seed(0)
    x = torch.randn(1, 24, 16)
    return {
        "model": Scores().eval(),
        "example_inputs": (x, torch.arange(3001, 3025)),
        "recipe": recipe,
    }


def handlens_bf16() -> dict[str, object]:
    return _target("bf16")


def handlens_fp16() -> dict[str, object]:
    return _target("fp16")
