"""Source: ultralytics/ultralytics #24990, pytorch/pytorch #60939, mlc-ai/mlc-llm #1638: attention
in float16.

Symptom: NaN in some batches. Cause: the product of queries and keys is beyond 65504, and is scaled
only after that: softmax of infinity is NaN.
A good tool says: the matmul overflows float16, with the size of its values. Not the product with
the scale, not softmax. With the queries scaled before the product, the same model is fine in
float16.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, scales_first: bool) -> None:
        super().__init__()
        self.query = nn.Linear(64, 64)
        self.key = nn.Linear(64, 64)
        self.value = nn.Linear(64, 64)
        self.scales_first = scales_first

    def forward(self, x: Tensor) -> Tensor:
        query, key = self.query(x), self.key(x)
        if self.scales_first:
            scores = (query * 0.125) @ key.transpose(-2, -1)
        else:
            scores = (query @ key.transpose(-2, -1)) * 0.125
        return torch.softmax(scores, dim=-1) @ self.value(x)


def _target(recipe: str, scales_first: bool = False) -> dict[str, object]:
    torch.manual_seed(0)
    model = Attention(scales_first).eval()
    with torch.no_grad():
        # One key wins by far, as in models that attend to a single token.
        model.query.weight.mul_(150)
        model.key.weight.mul_(150)
    return {"model": model, "example_inputs": (torch.randn(2, 6, 64),), "recipe": recipe}


def handlens_scaled_after() -> dict[str, object]:
    return _target("fp16")


def handlens_scaled_before() -> dict[str, object]:
    return _target("fp16", scales_first=True)
