"""Source: huggingface/transformers PR #19229 (LongT5): fp16 gives NaN though every layer's output
fits.

Cause: the residual addition of two large finite tensors exceeds 65504.
A good tool says: the `+` of the residual overflows float16, not the linear layer before it and not
the softmax after it.
"""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.nn.functional.gelu(self.up(x)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.block = Block(16)
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) * 30000.0
        x = self.block(x)
        x = x / 30000.0
        return torch.softmax(self.out(x), dim=-1)


def handlens_long() -> dict[str, object]:
    torch.manual_seed(3)
    model = Net().eval()
    with torch.no_grad():
        model.embed.weight.zero_()
        model.embed.bias.fill_(1.5)
        model.block.up.weight.fill_(0.01)
        model.block.up.bias.zero_()
        model.block.down.weight.fill_(0.12)
        model.block.down.bias.zero_()
    return {"model": model, "example_inputs": (torch.randn(2, 8),), "recipe": "fp16"}
