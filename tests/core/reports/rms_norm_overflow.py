"""Source: pytorch/pytorch #133085, xlite-dev/LeetCUDA #335, huggingface/transformers #10956: RMS norm
in float16.

Symptom: the output is zero where it should be of size one, and nothing says so.
Cause: x * x is beyond 65504 from x = 256 on; its mean is infinite, and rsqrt of that is zero.
A good tool says: `pow` overflows float16, with the size of its values. Not rsqrt, not the product;
and the zeros after it are no "sum of small losses". Squared in float32 the same model is fine, and
so it is in bfloat16.
"""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    def __init__(self, width: int, in_float: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.in_float = in_float

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float() if self.in_float else x
        variance = wide.pow(2).mean(-1, keepdim=True)
        return self.weight * (wide * torch.rsqrt(variance + 1e-6)).type_as(x)


class Decoder(nn.Module):
    def __init__(self, in_float: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.norm = RMSNorm(16, in_float)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.embed(x)))


def _target(recipe: str, in_float: bool = False) -> dict[str, object]:
    torch.manual_seed(0)
    model = Decoder(in_float).eval()
    with torch.no_grad():
        model.embed.weight.mul_(800)
    return {"model": model, "example_inputs": (torch.randn(4, 8),), "recipe": recipe}


def handlens_half() -> dict[str, object]:
    return _target("fp16")


def handlens_brain_float() -> dict[str, object]:
    return _target("bf16")


def handlens_squared_in_float() -> dict[str, object]:
    return _target("fp16", in_float=True)
