"""Source: tracel-ai/burn #4769, ROCm/AMDMIGraphX #850, huggingface/candle #3719: means over many
values in float16.

Symptom: infinite, though the mean is of ordinary size. Cause: sum first, divide then: the sum is
beyond 65504.
A good tool says: the sum overflows, not the division. `mean` sums in float32 in torch and is fine:
nothing there.
"""

import torch
from torch import Tensor, nn


class Pool(nn.Module):
    def __init__(self, sums: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.sums = sums

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem(image))
        if self.sums:
            pooled = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
        else:
            pooled = x.mean((2, 3))
        return self.head(pooled)


def _target(sums: bool) -> dict[str, object]:
    torch.manual_seed(0)
    model = Pool(sums).eval()
    with torch.no_grad():
        model.stem.bias.fill_(20.0)
    return {"model": model, "example_inputs": (torch.randn(1, 3, 64, 64),), "recipe": "fp16"}


def handlens_sum() -> dict[str, object]:
    return _target(sums=True)


def handlens_mean() -> dict[str, object]:
    return _target(sums=False)
