"""Source: apple/coremltools #2690, sbryngelson/ANEForge #113: log of a sum of exponentials in
float16.

Symptom: infinite from inputs of about 8 to 11 on. Cause: exp(x) is beyond 65504 from 11.09 on, and
the sum of 32 of them from 7.6 on, though the logarithm is small.
A good tool says: the op that overflows (`exp`, or the sum), with the size of its values; not the
logarithm. The built-in logsumexp, which takes the largest value out first, is fine.
"""

import torch
from torch import Tensor, nn


class Energy(nn.Module):
    def __init__(self, built_in: bool) -> None:
        super().__init__()
        self.logits = nn.Linear(16, 32)
        self.built_in = built_in

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        if self.built_in:
            return torch.logsumexp(logits, dim=-1)
        return torch.log(torch.exp(logits).sum(dim=-1))


def _target(size: float, built_in: bool = False) -> dict[str, object]:
    torch.manual_seed(0)
    model = Energy(built_in).eval()
    with torch.no_grad():
        model.logits.bias.fill_(size)
    return {"model": model, "example_inputs": (torch.randn(8, 16),), "recipe": "fp16"}


def handlens_exponential() -> dict[str, object]:
    return _target(12.0)


def handlens_sum() -> dict[str, object]:
    return _target(9.0)


def handlens_built_in() -> dict[str, object]:
    return _target(12.0, built_in=True)
