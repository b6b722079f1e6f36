"""Source: pytorch/pytorch #32137, kornia/kornia #4021, huggingface/diffusers #13316: F.normalize in
float16.

Symptom: NaN for a vector of zeros (padding, silence), which float32 and bfloat16 leave at zero.
Cause: the epsilon of 1e-12 is zero in float16, and 0 / 0 is NaN.
A good tool says: the division gives NaN, and that what it divides by is clamped from below by a
number that is zero in float16. An epsilon that float16 has (1e-4) mends it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Embedder(nn.Module):
    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.project = nn.Linear(16, 16, bias=False)
        self.head = nn.Linear(16, 4)
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.normalize(self.project(x), dim=-1, eps=self.epsilon))


def _target(recipe: str, epsilon: float = 1e-12) -> dict[str, object]:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 16)
    x[1, 3:] = 0.0
    return {"model": Embedder(epsilon).eval(), "example_inputs": (x,), "recipe": recipe}


def handlens_padding() -> dict[str, object]:
    return _target("fp16")


def handlens_brain_float() -> dict[str, object]:
    return _target("bf16")


def handlens_larger_epsilon() -> dict[str, object]:
    return _target("fp16", epsilon=1e-4)


class MinMax(nn.Module):
    """Source: lightonai/pylate #239: scores are stretched to 0..1, and some rows have equal scores only."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.score = nn.Linear(16, 6)
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        scores = self.score(x)
        low = scores.amin(-1, keepdim=True)
        high = scores.amax(-1, keepdim=True)
        return (scores - low) / (high - low + self.epsilon)


def _scores(epsilon: float) -> dict[str, object]:
    torch.manual_seed(0)
    model = MinMax(epsilon).eval()
    with torch.no_grad():
        model.score.bias.fill_(0.25)
    x = torch.randn(4, 16)
    x[2] = 0.0
    return {"model": model, "example_inputs": (x,), "recipe": "fp16"}


def handlens_equal_scores() -> dict[str, object]:
    return _scores(1e-8)


def handlens_equal_scores_larger_epsilon() -> dict[str, object]:
    return _scores(1e-3)
