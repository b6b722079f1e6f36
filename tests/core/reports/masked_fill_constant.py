"""Source: NVIDIA/apex #1052, #1105, fairseq #3575, facebookresearch/mmf PR #962: "value cannot be
converted to type at::Half without overflow: -1e+09".

Cause: masked_fill with a constant that float16 does not have. bfloat16 works.
A good tool says: at the line of masked_fill, the constant is beyond float16's range; use
torch.finfo(dtype).min or -inf. No traceback.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = q @ k.transpose(-2, -1) / 4.0
        scores = scores.masked_fill(~keep[:, None, :], -1e9)
        return self.out(torch.softmax(scores, dim=-1) @ v)


def _target(recipe: str) -> dict[str, object]:
    torch.manual_seed(0)
    keep = torch.ones(2, 6, dtype=torch.bool)
    keep[1, 4:] = False
    return {
        "model": Attention().eval(),
        "example_inputs": (torch.randn(2, 6, 16), keep),
        "recipe": recipe,
    }


def handlens_half() -> dict[str, object]:
    return _target("fp16")


def handlens_brain_float() -> dict[str, object]:
    return _target("bf16")


def handlens_phone() -> dict[str, object]:
    return _target("xnnpack")
