"""Source: FasterAI-Labs/fasterai #80, NVIDIA/TensorRT #1480, PINTO0309/onnx2tf #222: calibrated with
images that were preprocessed in another way than those that the model meets.

Symptom: a low accuracy, of the quantized model only.
Cause: (a) pictures of 0 to 255 went into calibration: the input and all that follows have scales a
hundred times too wide. (b) Pictures of 0 to 1 did, and normalized ones, -2.0 to 2.4, are clipped.
A good tool says: (a) the range of the quantizer beside that of the values, which use few of its
steps; (b) how many values are clipped, and at which end; in both cases to calibrate with inputs
like those that the model meets, also at the first layer, whose input it is. No cat is to blame.
With the right calibration the same model has 49 dB.
"""

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.body = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem(image))
        x = torch.relu(self.body(x))
        return self.head(x.mean((2, 3)))


def _target(recipe: str, preprocessed: str) -> dict[str, object]:
    torch.manual_seed(0)
    pictures = [torch.rand(2, 3, 32, 32) for _ in range(6)]
    normalized = [((each - 0.45) / 0.225,) for each in pictures]
    calibration = {
        "bytes": [(each * 255,) for each in pictures[:4]],
        "unit": [(each,) for each in pictures[:4]],
        "normalized": normalized[:4],
    }
    return {
        "model": Classifier().eval(),
        "example_inputs": normalized[0],
        "calibration": calibration[preprocessed],
        "evaluation": normalized[4:],
        "recipe": recipe,
    }


def handlens_bytes() -> dict[str, object]:
    return _target("x86", "bytes")


def handlens_unit() -> dict[str, object]:
    return _target("xnnpack", "unit")


def handlens_normalized() -> dict[str, object]:
    return _target("x86", "normalized")
