"""Source: tenstorrent/tt-metal #45968, sbryngelson/ANEForge #263, k2-fsa/sherpa-onnx #3857:
one-pass variance.

Symptom: NaN, or values that are not normalized at all, where the mean is large and the spread
small.
Cause: E[x²] − E[x]² subtracts two nearly equal numbers; in half precision their difference is
noise, and may be below zero.
A good tool says: the loss shows at the subtraction, and comes from what it subtracts (the mean of
the squares, the square of the mean, the input itself); sqrt only makes NaN of it. The two-pass
variance mends it.
"""

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    def __init__(self, passes: int) -> None:
        super().__init__()
        self.mix = nn.Linear(32, 32)
        self.head = nn.Linear(32, 4)
        self.passes = passes

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x)
        mean = x.mean(-1, keepdim=True)
        if self.passes == 1:
            variance = (x * x).mean(-1, keepdim=True) - mean * mean
        else:
            variance = (x - mean).square().mean(-1, keepdim=True)
        return self.head((x - mean) / torch.sqrt(variance + 1e-5))


def _target(recipe: str, passes: int, mean: float) -> dict[str, object]:
    torch.manual_seed(0)
    model = Normalize(passes).eval()
    with torch.no_grad():
        model.mix.weight.mul_(0.5)
        model.mix.bias.fill_(mean)
    return {"model": model, "example_inputs": (torch.randn(8, 32),), "recipe": recipe}


def handlens_one_pass() -> dict[str, object]:
    return _target("bf16", passes=1, mean=5.0)


def handlens_one_pass_half() -> dict[str, object]:
    return _target("fp16", passes=1, mean=20.0)


def handlens_two_passes() -> dict[str, object]:
    return _target("bf16", passes=2, mean=5.0)
