"""Models of timm, as small as their constructors allow."""

from __future__ import annotations

from typing import Any

from benchmarks.architectures import beside_cpu  # noqa: F401
from benchmarks.architectures.building import Target, normal, seeded

# isort: split

import timm
from timm.models import convmixer, metaformer, mlp_mixer, tiny_vit


def _images(name: str, side: int = 64, **options: Any) -> Target:
    return seeded(timm.create_model, name, num_classes=10, **options), (normal(1, 3, side, side),)


def _built(build: Any, **options: Any) -> Target:
    return seeded(build, num_classes=10, **options), (normal(1, 3, 64, 64),)


def handlens_fastvit() -> Target:
    return _images("fastvit_t8", layers=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32))


def handlens_mobileone() -> Target:
    return _images("mobileone_s0")


def handlens_repvgg() -> Target:
    return _images("repvgg_a0", side=32)


def handlens_efficientformer() -> Target:
    return _images("efficientformer_l1", side=224)


def handlens_efficientformer_v2() -> Target:
    return _images("efficientformerv2_s0", side=224)


def handlens_ghostnet() -> Target:
    return _images("ghostnet_050")


def handlens_ghostnet_v2() -> Target:
    return _images("ghostnetv2_100")


def handlens_mobilevit() -> Target:
    return _images("mobilevit_xxs")


def handlens_mobilevitv2() -> Target:
    return _images("mobilevitv2_050")


def handlens_coatnet() -> Target:
    return _images("coatnet_nano_rw_224", img_size=64)


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


def handlens_edgenext() -> Target:
    return _images("edgenext_xx_small")


def handlens_levit() -> Target:
    return _images("levit_128s", img_size=64)


def handlens_tiny_vit() -> Target:
    return _built(
        tiny_vit.TinyVit,
        embed_dims=(16, 32, 32, 32),
        depths=(1, 1, 1, 1),
        num_heads=(2, 4, 4, 4),
        window_sizes=(7, 7, 7, 7),
    )


def handlens_repvit() -> Target:
    return _images("repvit_m0_9")


def handlens_mobilenetv4() -> Target:
    return _images("mobilenetv4_conv_small_050")


def handlens_hgnet() -> Target:
    return _images("hgnetv2_b0")


def handlens_res2net() -> Target:
    return _images("res2net50_14w_8s", side=32, layers=(1, 1, 1, 1))


def handlens_nfnet() -> Target:
    return _images("nf_regnet_b0")


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
