"""Source: vllm-project/vllm #1112, intel/neural-compressor #1824, facebookresearch/LLM-QAT #19: W8A8
of language models.

Symptom: perplexity explodes with dynamic 8-bit activations, and not with 8-bit weights alone.
Cause: two channels of the activations are twenty times larger than the rest, and nearly constant;
each token has one scale, which they set.
A good tool says: the linear layer that reads them, and that its input counts: with 8-bit weights
alone the output is 12 dB better. Moving the size of these channels into the weight (SmoothQuant)
wins 7 dB.
"""

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


def _target(recipe: str, *keep_float: str, smooth: bool = False) -> dict[str, object]:
    torch.manual_seed(0)
    model = Mlp(64).eval()
    loud = [7, 40]
    with torch.no_grad():
        # Massive activations are nearly constant, and the layer after them takes the constant away.
        model.norm.weight[loud] = 0.5
        model.norm.bias[loud] = torch.tensor([60.0, -45.0])
        model.up.bias -= model.up.weight[:, loud] @ model.norm.bias[loud]
        if smooth:
            # The same function: what a channel is divided by, its weights are multiplied by.
            size = torch.ones(64)
            size[loud] = 8.0
            model.norm.weight.div_(size)
            model.norm.bias.div_(size)
            model.up.weight.mul_(size)
    return {
        "model": model,
        "example_inputs": (torch.randn(2, 10, 64),),
        "recipe": recipe,
        "keep_float": keep_float,
    }


def handlens_dynamic() -> dict[str, object]:
    return _target("int8-dynamic")


def handlens_weights() -> dict[str, object]:
    return _target("int8-weight-only")


def handlens_smoothed() -> dict[str, object]:
    return _target("int8-dynamic", smooth=True)


def handlens_layer_in_float() -> dict[str, object]:
    return _target("int8-dynamic", "up")
