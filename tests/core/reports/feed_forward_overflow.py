"""Source: huggingface/transformers #5651, #9295 (T5): the second layer of the feed-forward block in
float16.

Symptom: NaN loss. Cause: `wo` computes values of up to 66246, and float16 ends at 65504.
A good tool says: the linear layer `wo` overflows, and by how much. That layer alone in float32 does
not help: what it gives is cast back, and the addition is infinite. It has to go along with what
reads it, up to the norm; or the values are scaled down, or bfloat16 is used.
"""

import torch
from torch import Tensor, nn


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.wi = nn.Linear(width, 4 * width, bias=False)
        self.wo = nn.Linear(4 * width, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.wi(x))
        return self.norm(x + self.wo(hidden))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.block = FeedForward(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x)))


def _target(recipe: str, *keep_float: str, scale: float = 1.0) -> dict[str, object]:
    torch.manual_seed(0)
    model = Encoder().eval()
    with torch.no_grad():
        model.embed.weight.mul_(20)
        model.block.wi.weight.mul_(60)
        model.block.wo.weight.mul_(160)
        # LayerNorm takes a common factor away again.
        model.embed.weight.mul_(scale)
        model.embed.bias.mul_(scale)
    return {
        "model": model,
        "example_inputs": (torch.randn(4, 8),),
        "recipe": recipe,
        "keep_float": keep_float,
    }


def handlens_half() -> dict[str, object]:
    return _target("fp16")


def handlens_layer_in_float() -> dict[str, object]:
    return _target("fp16", "block.wo")


def handlens_block_in_float() -> dict[str, object]:
    return _target("fp16", "block")


def handlens_brain_float() -> dict[str, object]:
    return _target("bf16")


def handlens_scaled_down() -> dict[str, object]:
    return _target("fp16", scale=1 / 16)
