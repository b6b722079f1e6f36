"""Source: emlearn/emlearn #100, XiaoMi/mace #297: sensor features of different ranges in one quantized
input.

Symptom: the quantized model does as if only one of the features were there.
Cause: the second of the day (0 to 86400) beside accelerations of size one: the input has one scale,
a step of which is 338.
A good tool says: the first layer, because of the model's input, of which the step is too coarse;
the weight is not to blame. That layer in float wins it back, and so do features of one size.
"""

import torch
from torch import Tensor, nn


class Activity(nn.Module):
    """Features `(batch, 7)`: six of an inertial sensor, and the second of the day."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(7, 32)
        self.second = nn.Linear(32, 4)

    def forward(self, features: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(features)))


def _target(recipe: str, *keep_float: str, scaled: bool = False) -> dict[str, object]:
    torch.manual_seed(0)
    model = Activity().eval()
    data = []
    for _ in range(6):
        features = torch.randn(32, 7)
        features[:, 6] = torch.rand(32) * (1.0 if scaled else 86400.0)
        data.append((features,))
    if not scaled:
        with torch.no_grad():
            model.first.weight[:, 6] /= 86400.0
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data[:4],
        "evaluation": data[4:],
        "recipe": recipe,
        "keep_float": keep_float,
    }


def handlens_seconds() -> dict[str, object]:
    return _target("x86")


def handlens_scaled() -> dict[str, object]:
    return _target("x86", scaled=True)


def handlens_first_in_float() -> dict[str, object]:
    return _target("x86", "first")
