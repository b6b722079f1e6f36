"""Source: utensils/mold #786, modelscope/DiffSynth-Studio #562 / PR #1025 and #1501: timesteps in
bf16.

Symptom (a): 998.39 becomes 1000 in bfloat16; the sinusoidal embedding of it is another one.
Symptom (b): int(999.0 in bf16) is 1000, an index beyond a table of 1000: IndexError.
Cause: the timestep, an input of the model, is cast to bfloat16.
A good tool says (a): the loss comes from the input (the timestep), not from sin/cos; keep it in
float32.
(b): the quantized model fails at the table look-up, because the index was rounded up in bfloat16.
"""

import math

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Linear(width, width)

    def forward(self, timestep: Tensor) -> Tensor:
        half = self.width // 2
        frequencies = torch.exp(
            torch.arange(half, device=timestep.device) * (-math.log(10000.0) / half)
        )
        angle = timestep[:, None].float() * frequencies
        table = torch.cat((torch.sin(angle), torch.cos(angle)), dim=-1)
        return self.mlp(table.to(self.mlp.weight.dtype))


def handlens_sinusoid() -> dict[str, object]:
    torch.manual_seed(0)
    steps = torch.tensor([998.39, 937.5, 833.3, 417.7])
    return {"model": TimeEmbedding(32).eval(), "example_inputs": (steps,), "recipe": "bf16"}


class Scheduler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alphas", torch.linspace(1.0, 0.01, 1000))

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        alpha = self.alphas[timestep.long()]
        return sample * alpha.sqrt()[:, None]


def handlens_table() -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "model": Scheduler().eval(),
        "example_inputs": (torch.randn(2, 4), torch.tensor([999.0, 500.0])),
        "recipe": "bf16",
    }
