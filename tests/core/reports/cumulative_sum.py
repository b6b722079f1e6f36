"""Source: tensorflow/tensorflow #115731, huggingface/transformers #25431 (Informer): a cumulative
sum in half precision.

Symptom: a moving average, computed as the difference of two cumulative sums, is noise.
Cause: the running sum grows, and its rounding with it; the difference of two such sums is small.
A good tool says: the cumulative sum answers for the loss, which the subtraction shows: the sum by
itself looks as good as half precision can be. Summing in float32 mends it.
"""

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    def __init__(self, window: int, in_float: bool) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)
        self.window = window
        self.in_float = in_float

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.project(x))
        if self.in_float:
            total = x.cumsum(1, dtype=torch.float32)
        else:
            total = x.cumsum(1)
        mean = (total[:, self.window :] - total[:, : -self.window]) / self.window
        return self.head(mean.to(x.dtype))


def _target(recipe: str, in_float: bool = False) -> dict[str, object]:
    torch.manual_seed(0)
    x = torch.randn(1, 2000, 8)
    return {"model": MovingAverage(4, in_float).eval(), "example_inputs": (x,), "recipe": recipe}


def handlens_brain_float() -> dict[str, object]:
    return _target("bf16")


def handlens_summed_in_float() -> dict[str, object]:
    return _target("bf16", in_float=True)
