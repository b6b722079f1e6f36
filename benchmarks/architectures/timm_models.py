"""Models of timm, as small as their constructors allow."""

from __future__ import annotations

from typing import Any

from benchmarks.architectures import beside_cpu  # noqa: F401
from benchmarks.architectures.building import Target, normal, seeded

# isort: split

import timm
from timm.models import (
    byobnet,
    convmixer,
    edgenext,
    efficientformer,
    efficientformer_v2,
    ghostnet,
    maxxvit,
    metaformer,
    mlp_mixer,
    nfnet,
    repvit,
    tiny_vit,
)


def _images(name: str, side: int = 64, **options: Any) -> Target:
    return seeded(timm.create_model, name, num_classes=10, **options), (normal(1, 3, side, side),)


def _built(build: Any, side: int = 64, **options: Any) -> Target:
    return seeded(build, num_classes=10, **options), (normal(1, 3, side, side),)


def handlens_fastvit() -> Target:
    return _images("fastvit_t8", layers=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32))


def handlens_mobileone() -> Target:
    blocks = byobnet._mobileone_bcfg(d=(1, 1, 1, 1), wf=(0.25,) * 4, num_conv_branches=2)
    cfg = byobnet.ByoModelCfg(blocks=blocks, stem_type="one", stem_chs=16)
    return _built(byobnet.ByobNet, cfg=cfg)


def handlens_repvgg() -> Target:
    blocks = byobnet._rep_vgg_bcfg(d=(1, 1, 1, 1), wf=(0.25,) * 4)
    cfg = byobnet.ByoModelCfg(blocks=blocks, stem_type="rep", stem_chs=16)
    return _built(byobnet.ByobNet, cfg=cfg)


def handlens_efficientformer() -> Target:
    return _built(
        efficientformer.EfficientFormer,
        side=224,
        depths=(1, 1, 1, 2),
        embed_dims=(16, 16, 32, 32),
        num_vit=1,
    )


def handlens_efficientformer_v2() -> Target:
    return _built(
        efficientformer_v2.EfficientFormerV2,
        depths=(1, 1, 1, 2),
        embed_dims=(16, 16, 32, 32),
        num_vit=1,
        img_size=64,
    )


# Of each block: kernel, expansion, channels, squeeze and excitation, stride.
_GHOSTS = [[[3, 16, 16, 0, 1]], [[3, 48, 24, 0, 2]], [[5, 72, 40, 0.25, 2]], [[3, 200, 80, 0, 2]]]


def handlens_ghostnet() -> Target:
    return _built(ghostnet.GhostNet, cfgs=_GHOSTS)


def handlens_ghostnet_v2() -> Target:
    return _built(ghostnet.GhostNet, cfgs=_GHOSTS, version="v2")


def handlens_coatnet() -> Target:
    cfg = maxxvit.MaxxVitCfg(
        embed_dim=(16, 32), depths=(1, 1), block_type=("C", "T"), stem_width=16
    )
    return _built(maxxvit.MaxxVit, cfg=cfg, img_size=64)


def handlens_edgenext() -> Target:
    return _built(
        edgenext.EdgeNeXt,
        dims=(16, 24, 32, 32),
        depths=(1, 1, 2, 1),
        heads=(4, 4, 4, 4),
    )


def handlens_repvit() -> Target:
    return _built(repvit.RepVit, embed_dim=(16, 32), depth=(2, 2))


def handlens_nfnet() -> Target:
    cfg = nfnet.NfCfg(depths=(1, 1), channels=(32, 32), stem_type="3x3", stem_chs=16)
    return _built(nfnet.NormFreeNet, cfg=cfg)


def handlens_mobilevitv2() -> Target:
    return _images("mobilevitv2_050")


def handlens_mlp_mixer() -> Target:
    return _built(mlp_mixer.MlpMixer, img_size=64, num_blocks=2, embed_dim=32)


def handlens_resmlp() -> Target:
    return _built(
        mlp_mixer.MlpMixer,
        img_size=64,
        num_blocks=2,
        embed_dim=32,
        mlp_ratio=4,
        block_layer=mlp_mixer.ResBlock,
        norm_layer=mlp_mixer.Affine,
    )


def handlens_convmixer() -> Target:
    return _built(convmixer.ConvMixer, dim=32, depth=2)


def handlens_tiny_vit() -> Target:
    return _built(
        tiny_vit.TinyVit,
        embed_dims=(16, 32, 32, 32),
        depths=(1, 1, 1, 1),
        num_heads=(2, 4, 4, 4),
        window_sizes=(7, 7, 7, 7),
    )


def handlens_mobilenetv4() -> Target:
    return _images("mobilenetv4_conv_small_050")


def handlens_hgnet() -> Target:
    return _images("hgnetv2_b0")


def handlens_res2net() -> Target:
    return _images("res2net50_14w_8s", side=32, layers=(1, 1, 1, 1))


def handlens_xcit() -> Target:
    return _images("xcit_nano_12_p16_224", img_size=64, depth=2, embed_dim=32)


def handlens_metaformer() -> Target:
    return _built(
        metaformer.MetaFormer,
        depths=(1, 1),
        dims=(16, 32),
        token_mixers=[metaformer.SepConv, metaformer.Attention],
        norm_layers=[metaformer.LayerNorm2dNoBias, metaformer.LayerNormNoBias],
    )
