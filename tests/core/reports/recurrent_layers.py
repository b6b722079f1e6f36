"""Source: pytorch/executorch #10104: static quantization of a GRU fails in prepare, an LSTM works.

Symptom: an exception inside prepare_pt2e / the quantizer for nn.GRU with the XNNPACK quantizer.
Cause: the quantizer has GRU patterns of its own / the cell is decomposed differently; no user
error.
A good tool says: either compares what is quantized in the recurrent layer, line by line, or says
which line (self.gru) the recipe cannot quantize, in one sentence and without a traceback.
"""

import torch
from torch import Tensor, nn


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell = kind(10, 20, batch_first=True)
        self.head = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        features, _ = self.cell(x)
        return self.head(features[:, -1])


def _target(kind: type[nn.RNNBase]) -> dict[str, object]:
    torch.manual_seed(0)
    model = Recurrent(kind).eval()
    data = [(torch.randn(1, 20, 10),) for _ in range(4)]
    return {"model": model, "example_inputs": data[0], "calibration": data, "recipe": "xnnpack"}


def handlens_gru() -> dict[str, object]:
    return _target(nn.GRU)


def handlens_lstm() -> dict[str, object]:
    return _target(nn.LSTM)


def handlens_rnn() -> dict[str, object]:
    return _target(nn.RNN)
