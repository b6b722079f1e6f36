"""Source: ultralytics/ultralytics #25020: scores of a detector after a sigmoid in 8 bits.

Symptom: rare objects are no longer found: their scores are zero. Cause: the scores of most places
are near zero and a few near one; steps of 1/255 leave nothing of a score of 0.001.
A good tool says: what is quantized is the logit (the convolution), for the sigmoid stays in float
with torchao's quantizers: nothing is lost at the sigmoid itself, and it is not accused.
"""

import torch
from torch import Tensor, nn


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.scores = nn.Conv2d(16, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.scores(torch.relu(self.stem(image))))


def _target(recipe: str) -> dict[str, object]:
    torch.manual_seed(0)
    model = Scores().eval()
    with torch.no_grad():
        model.scores.weight.mul_(6)
        model.scores.bias.fill_(-7.0)
    data = [(torch.randn(2, 3, 16, 16),) for _ in range(6)]
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data[:4],
        "evaluation": data[4:],
        "recipe": recipe,
    }


def handlens_server() -> dict[str, object]:
    return _target("x86")


def handlens_phone() -> dict[str, object]:
    return _target("xnnpack")
