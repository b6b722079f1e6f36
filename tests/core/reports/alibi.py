"""Source: NVIDIA/TensorRT-Model-Connect #667, bigscience-workshop/Megatron-DeepSpeed #101: ALiBi in
bfloat16.

Symptom: long prompts go another way than in float32. Cause: slope times position is computed in
bfloat16, and from 256 on neighbouring positions get one and the same bias; softmax sees differences
of it.
A good tool says: the loss begins at the cast of the positions (or at their product with the
slopes), which by itself has 50 dB; the scores and softmax show it. With relative positions (0 at
the query) it is gone.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, relative: bool) -> None:
        super().__init__()
        self.query = nn.Linear(16, 16)
        self.key = nn.Linear(16, 16)
        self.value = nn.Linear(16, 16)
        self.register_buffer("slopes", torch.tensor([0.5, 0.25]))
        self.relative = relative

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        if self.relative:
            positions = positions - positions[-1]
        bias = self.slopes[:, None, None] * positions.to(x.dtype)
        query = self.query(x).unflatten(-1, (2, 8)).transpose(1, 2)
        key = self.key(x).unflatten(-1, (2, 8)).transpose(1, 2)
        value = self.value(x).unflatten(-1, (2, 8)).transpose(1, 2)
        scores = query @ key.transpose(-2, -1) + bias
        return (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).flatten(2)


def _target(recipe: str, relative: bool = False) -> dict[str, object]:
    torch.manual_seed(0)
    positions = torch.arange(2001, 2025)
    return {
        "model": Attention(relative).eval(),
        "example_inputs": (torch.randn(1, 24, 16), positions),
        "recipe": recipe,
    }


def handlens_absolute() -> dict[str, object]:
    return _target("bf16")


def handlens_absolute_half() -> dict[str, object]:
    return _target("fp16")


def handlens_relative() -> dict[str, object]:
    return _target("bf16", relative=True)
