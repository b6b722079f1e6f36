"""Source: k2-fsa/sherpa-onnx #3857 and #3853: speech features, normalized per bin, into an 8-bit
encoder.

Symptom: one recording empties the transcripts of the whole batch.
Cause: a bin at the floor has next to no variance, and is divided by it: one value of 45 (there:
7510) beside values of size one. The observer of the encoder's input cuts it off, or all others have
few steps.
A good tool says: the normalized features, of which a few are far larger than the rest, and how many
are clipped; that calibration has seen them: more of the same changes nothing. What wins it back is
a floor for the variance, or the division, or the layer that reads it, in float.
"""

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, features: Tensor) -> Tensor:
        mean = features.mean(1, keepdim=True)
        deviation = features.std(1, keepdim=True, unbiased=False)
        return (features - mean) / torch.clamp(deviation, min=self.epsilon)


class Encoder(nn.Module):
    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.normalize = Normalize(epsilon)
        self.first = nn.Linear(32, 32)
        self.second = nn.Linear(32, 8)

    def forward(self, features: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(self.normalize(features))))


def _target(*keep_float: str, epsilon: float = 1e-5) -> dict[str, object]:
    torch.manual_seed(0)
    data = []
    for _ in range(4):
        features = torch.randn(2, 2000, 32)
        features[0, :, 3] = -15.94
        features[0, 100, 3] = -15.93
        data.append((features,))
    model = Encoder(epsilon).eval()
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data[:2],
        "evaluation": data[2:],
        "recipe": "x86",
        "keep_float": keep_float,
    }


def handlens_server() -> dict[str, object]:
    return _target()


def handlens_clamped() -> dict[str, object]:
    return _target(epsilon=0.1)


def handlens_division_in_float() -> dict[str, object]:
    return _target("normalize")


def handlens_reader_in_float() -> dict[str, object]:
    return _target("first")
