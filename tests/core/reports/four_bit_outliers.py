"""Source: NVIDIA/TensorRT-LLM #1394, microsoft/onnxruntime-genai #1854: 4-bit weights, and the output
layer with them.

Symptom: nonsense from a 4-bit model until its output layer is kept in 8 bits or in float.
Cause: the output layer has a few weights that are far larger than the rest of their group; 16
levels for the group leave the others at zero.
A good tool says: that layer, and its weight; the other layers are at what 4 bits cost. Keeping the
layer in float wins it back.
"""

import torch
from torch import Tensor, nn


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(64, 128, bias=False)
        self.down = nn.Linear(128, 64, bias=False)
        self.norm = nn.LayerNorm(64)
        self.lm_head = nn.Linear(64, 64, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x + self.down(torch.relu(self.up(x))))
        return self.lm_head(x)


def _target(recipe: str, *keep_float: str) -> dict[str, object]:
    torch.manual_seed(0)
    model = Language().eval()
    with torch.no_grad():
        # One large weight in each group, on a channel that is quiet itself.
        model.lm_head.weight[:, [5, 37]] = 2.0
        model.norm.weight[[5, 37]] = 0.01
    return {
        "model": model,
        "example_inputs": (torch.randn(2, 8, 64),),
        "recipe": recipe,
        "keep_float": keep_float,
    }


def handlens_four_bits() -> dict[str, object]:
    return _target("int4-weight-only")


def handlens_head_in_float() -> dict[str, object]:
    return _target("int4-weight-only", "lm_head")


def handlens_eight_bits() -> dict[str, object]:
    return _target("int8-weight-only")
