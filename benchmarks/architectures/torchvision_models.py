"""Models of torchvision, as small as their constructors allow."""

from __future__ import annotations

from typing import Any

from benchmarks.architectures import beside_cpu  # noqa: F401
from benchmarks.architectures.building import Target, normal, seeded

# isort: split

from torchvision import models
from torchvision.models import segmentation, video


def _images(build: Any, side: int = 64, **options: Any) -> Target:
    return seeded(build, weights=None, num_classes=10, **options), (normal(1, 3, side, side),)


def _built(build: Any, side: int = 64, **options: Any) -> Target:
    return seeded(build, num_classes=10, **options), (normal(1, 3, side, side),)


def _clips(convolution: Any, stem: Any) -> Target:
    model = seeded(
        video.VideoResNet,
        block=video.resnet.BasicBlock,
        conv_makers=[convolution] * 4,
        layers=[1, 1, 1, 1],
        stem=stem,
        num_classes=10,
    )
    return model, (normal(1, 3, 4, 32, 32),)


def handlens_alexnet() -> Target:
    return _images(models.alexnet)


def handlens_resnet() -> Target:
    return _images(models.resnet18)


def handlens_resnext() -> Target:
    return _built(
        models.ResNet,
        block=models.resnet.Bottleneck,
        layers=[1, 1, 1, 1],
        groups=8,
        width_per_group=4,
    )


def handlens_mobilenet_v2() -> Target:
    return _images(models.mobilenet_v2, width_mult=0.25)


def handlens_mobilenet_v3() -> Target:
    return _images(models.mobilenet_v3_small)


def handlens_densenet() -> Target:
    return _built(models.DenseNet, growth_rate=8, block_config=(2, 2, 2), num_init_features=16)


def handlens_inception_v3() -> Target:
    return _images(models.inception_v3, side=96, init_weights=True)


def handlens_googlenet() -> Target:
    return _images(models.googlenet, init_weights=True)


def handlens_shufflenet_v2() -> Target:
    return _images(models.shufflenet_v2_x0_5)


def handlens_squeezenet() -> Target:
    return _images(models.squeezenet1_1)


def handlens_efficientnet() -> Target:
    setting = models.efficientnet.MBConvConfig
    return _built(
        models.EfficientNet,
        inverted_residual_setting=[
            setting(1, 3, 1, 32, 16, 1, 1.0, 1.0),
            setting(6, 5, 2, 16, 24, 2, 1.0, 1.0),
        ],
        dropout=0.0,
        last_channel=64,
    )


def handlens_regnet() -> Target:
    block = models.regnet.BlockParams.from_init_params(
        depth=4, w_0=16, w_a=8.0, w_m=2.0, group_width=8, se_ratio=0.25
    )
    return _built(models.RegNet, block_params=block)


def handlens_convnext() -> Target:
    setting = models.convnext.CNBlockConfig
    return _built(models.ConvNeXt, block_setting=[setting(16, 32, 1), setting(32, None, 1)])


def handlens_swin() -> Target:
    return _built(
        models.SwinTransformer,
        side=32,
        patch_size=[4, 4],
        embed_dim=16,
        depths=[2, 1],
        num_heads=[2, 4],
        window_size=[4, 4],
    )


def handlens_vit() -> Target:
    return _built(
        models.VisionTransformer,
        side=32,
        image_size=32,
        patch_size=8,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        mlp_dim=64,
    )


def handlens_maxvit() -> Target:
    return _built(
        models.MaxVit,
        side=32,
        input_size=(32, 32),
        stem_channels=16,
        partition_size=4,
        block_channels=[16, 32],
        block_layers=[1, 1],
        head_dim=8,
        stochastic_depth_prob=0.0,
    )


def handlens_deeplabv3() -> Target:
    return _images(segmentation.deeplabv3_mobilenet_v3_large, weights_backbone=None, aux_loss=True)


def handlens_fcn() -> Target:
    return _images(segmentation.fcn_resnet50, side=32, weights_backbone=None)


def handlens_r2plus1d() -> Target:
    return _clips(video.resnet.Conv2Plus1D, video.resnet.R2Plus1dStem)


def handlens_r3d() -> Target:
    return _clips(video.resnet.Conv3DSimple, video.resnet.BasicStem)
