"""An op whose result nobody reads, as the pooler of an encoder of which only the last hidden state
is taken (BERT, ViT, RoBERTa, MPNet, YOLOS).

torchao's X86InductorQuantizer raises IndexError in annotate, after strict export too.
A good tool: leaves out what nothing reads, compares the rest, and counts what was left out with
that reason.
"""

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.pooler = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = torch.relu(self.body(x))
        pooled = torch.tanh(self.pooler(hidden[:, 0]))
        return {"hidden": hidden, "pooled": pooled}


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)["hidden"]


def handlens_encoder() -> dict[str, object]:
    torch.manual_seed(0)
    return {"model": Last().eval(), "example_inputs": (torch.randn(2, 5, 16),), "recipe": "x86"}
