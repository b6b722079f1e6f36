"""A classifier of handwritten digits that 8 bits break: advice says what to keep in float, in digits.

It is trained in a few seconds, and then some channels are made loud, as they are in many trained
networks (Nagel et al., "Data-Free Quantization", 2019): the float model stays what it was, to the bit.
`handlens advise` measures how many digits each change wins back. It needs

    pip install scikit-learn==1.9.1
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REQUIREMENTS = "scikit-learn==1.9.1"
LOUDNESS = 256.0
Layer = nn.Conv2d | nn.Linear


class DigitClassifier(nn.Module):
    """Images `(batch, 1, 8, 8)` to logits `(batch, 10)`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv4 = nn.Conv2d(32, 32, 3, padding=1)
        self.hidden = nn.Linear(32, 32)
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.conv3(x))
        x = F.relu(self.conv4(x))
        x = F.max_pool2d(x, 4).flatten(1)
        x = F.relu(self.hidden(x))
        x = self.classifier(x)
        return x


def digits() -> tuple[Tensor, Tensor]:
    """The 1797 digits of scikit-learn: images `(1797, 1, 8, 8)` from 0 to 1, and their labels."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        message = f"{error.msg}. This example needs: pip install {REQUIREMENTS}"
        raise ModuleNotFoundError(message, name=error.name) from error

    data = load_digits()
    return torch.from_numpy(data.images).float().unsqueeze(1) / 16, torch.from_numpy(data.target)


def train(model: DigitClassifier, images: Tensor, labels: Tensor, epochs: int = 12) -> None:
    steps = [chosen for _ in range(epochs) for chosen in torch.randperm(len(images)).split(100)]
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=len(steps))
    for chosen in steps:
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def make_loud(layer: Layer, following: Layer, channel: int) -> None:
    """Move a factor from a layer's weights to the layer before: a ReLU between them lets it through."""
    layer.weight[channel] *= LOUDNESS
    layer.bias[channel] *= LOUDNESS
    following.weight[:, channel] /= LOUDNESS


def top1(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> float:
    """The share of the digits that are recognised."""
    _, labels = batch
    return (outputs.argmax(1) == labels).float().mean().item()


def handlens_digits() -> dict[str, object]:
    images, labels = digits()
    seen, unseen = torch.arange(len(images)).view(-1, 3).split((2, 1), dim=1)
    seen, unseen = seen.flatten(), unseen.flatten()
    torch.manual_seed(0)
    model = DigitClassifier()
    train(model, images[seen], labels[seen])
    make_loud(model.conv2, model.conv3, channel=4)
    make_loud(model.conv3, model.conv4, channel=5)
    make_loud(model.hidden, model.classifier, channel=6)
    return {
        "model": model,
        "example_inputs": (images[unseen],),
        "calibration": [(images[seen[: len(unseen)]],)],
        "evaluation": [(images[unseen], labels[unseen])],
        "metric": top1,
    }
