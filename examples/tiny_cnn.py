"""A small CNN with one line that 8 bits ruin: channels of very different scale.

One channel of the eight is far louder than the others, and the layer after it weighs it as much
less. A ReLU lets such scales through, so in float `LOUDNESS` changes nothing. Set it to 1 and the
loss in `conv2` is gone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOUDNESS = 200.0


class TinyCNN(nn.Module):
    """Images `(batch, 3, 32, 32)` to logits `(batch, 10)`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 32, 3, padding=1)
        self.classifier = nn.Linear(32 * 8 * 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        # All channels of conv2's input share one step size, set by the loud one: the others keep
        # a level or two. Its weights share one per output: those of the loud channel round to 0.
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.conv3(x))
        x = F.max_pool2d(x, 2)
        x = x.flatten(1)
        x = self.classifier(x)
        return x


@torch.no_grad()
def make_loud(model: TinyCNN, channel: int) -> None:
    """Move a factor from `conv2`'s weights into `bn1`: the same function, other ranges."""
    model.bn1.weight[channel] *= LOUDNESS
    model.bn1.bias[channel] *= LOUDNESS
    model.conv2.weight[:, channel] /= LOUDNESS


def handlens_tiny() -> dict[str, object]:
    torch.manual_seed(0)
    model = TinyCNN().eval()
    make_loud(model, channel=3)
    batches = [(torch.randn(4, 3, 32, 32),) for _ in range(6)]
    return {
        "model": model,
        "example_inputs": batches[0],
        "calibration": batches[:4],
        "evaluation": batches[4:],
    }
