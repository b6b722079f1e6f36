"""Source: LIHANG-HONG/birdclef2023-2nd-place-solution #2, sbryngelson/ANEForge #263: log-mel
features in float16.

Symptom: the spectrogram has infinities (loud recordings), or the logarithm has (silence).
Cause: the power of a loud bin is beyond 65504; for silence, the 1e-10 that is added before the
logarithm is zero in float16.
A good tool says: for loud sounds the square (here `im * im`), for silence the logarithm, which reads
zeros because the epsilon is gone. With a window scaled to 1/64 and an epsilon of 1e-4 neither
happens.
"""

import math

import torch
from torch import Tensor, nn


class LogMel(nn.Module):
    """Sound `(batch, samples)` to features `(batch, frames, mels)`."""

    def __init__(self, scale: float, epsilon: float) -> None:
        super().__init__()
        size, bins, mels = 64, 33, 8
        angle = 2 * math.pi * torch.outer(torch.arange(size), torch.arange(bins)) / size
        window = torch.hann_window(size)[:, None] * scale
        self.register_buffer("cosine", window * angle.cos())
        self.register_buffer("sine", window * angle.sin())
        centres = torch.linspace(0, bins - 1, mels + 2)
        distance = (torch.arange(bins)[:, None] - centres[None, 1:-1]).abs()
        self.register_buffer("mel", (1 - distance / (centres[1] - centres[0])).clamp(min=0))
        self.head = nn.Linear(mels, 4)
        self.epsilon = epsilon

    def forward(self, sound: Tensor) -> Tensor:
        frames = sound.unfold(1, 64, 32)
        re, im = frames @ self.cosine, frames @ self.sine
        power = re * re + im * im
        return self.head(torch.log(power @ self.mel + self.epsilon))


def _sound(loudness: float, silence: bool) -> Tensor:
    torch.manual_seed(0)
    time = torch.arange(512) / 16000
    sound = loudness * torch.sin(2 * math.pi * 1000 * time) + torch.randn(2, 512)
    if silence:
        sound[1, 256:] = 0.0
    return sound


def _target(
    loudness: float, silence: bool, scale: float = 1.0, epsilon: float = 1e-10
) -> dict[str, object]:
    torch.manual_seed(1)
    model = LogMel(scale, epsilon).eval()
    return {"model": model, "example_inputs": (_sound(loudness, silence),), "recipe": "fp16"}


def handlens_loud() -> dict[str, object]:
    return _target(40.0, silence=False)


def handlens_silence() -> dict[str, object]:
    return _target(4.0, silence=True)


def handlens_scaled() -> dict[str, object]:
    return _target(40.0, silence=True, scale=1 / 64, epsilon=1e-4)
