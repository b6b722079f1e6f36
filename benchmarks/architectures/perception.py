"""Models of images and of sound by Hugging Face's transformers."""

from __future__ import annotations

from typing import Any

import transformers as hf

from benchmarks.architectures.building import (
    VOCABULARY,
    LastHiddenState,
    Target,
    normal,
    padding,
    seeded,
    tokens,
)

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    # Of so narrow layers, this makes outputs as large as inputs.
    "initializer_range": 0.2,
}
_PATCHES: dict[str, Any] = {"image_size": 32, "patch_size": 8}


def _vision(model: Any, config: Any, side: int = 32, **options: Any) -> Target:
    return seeded(model, config(**options)), {"pixel_values": normal(1, 3, side, side)}


def _transformer(model: Any, config: Any, **options: Any) -> Target:
    return _vision(model, config, **(_SIZES | _PATCHES | options))


def _encoder(model: Any, config: Any, **options: Any) -> Target:
    built, inputs = _transformer(model, config, **options)
    return LastHiddenState(built), inputs


# -- images ----------------------------------------------------------------------------------------


def handlens_vit() -> Target:
    return _encoder(hf.ViTModel, hf.ViTConfig)


def handlens_deit() -> Target:
    return _transformer(hf.DeiTForImageClassificationWithTeacher, hf.DeiTConfig)


def handlens_beit() -> Target:
    return _encoder(hf.BeitModel, hf.BeitConfig, use_relative_position_bias=True)


def handlens_dinov2() -> Target:
    return _encoder(hf.Dinov2Model, hf.Dinov2Config)


def handlens_dinov3() -> Target:
    return _encoder(hf.DINOv3ViTModel, hf.DINOv3ViTConfig)


def handlens_yolos() -> Target:
    return _transformer(
        hf.YolosForObjectDetection, hf.YolosConfig, image_size=[32, 32], num_detection_tokens=4
    )


def handlens_siglip() -> Target:
    return _transformer(hf.SiglipVisionModel, hf.SiglipVisionConfig)


def handlens_clip() -> Target:
    text = _SIZES | {"vocab_size": VOCABULARY, "max_position_embeddings": 16, "projection_dim": 16}
    vision = _SIZES | _PATCHES | {"projection_dim": 16}
    config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    inputs = {
        "input_ids": tokens(),
        "pixel_values": normal(2, 3, 32, 32),
        "attention_mask": padding(),
    }
    return seeded(hf.CLIPModel, config), inputs


def handlens_swin() -> Target:
    return _vision(
        hf.SwinModel,
        hf.SwinConfig,
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depths=[2, 1],
        num_heads=[2, 4],
        window_size=4,
    )


def handlens_swinv2() -> Target:
    return _vision(
        hf.Swinv2Model,
        hf.Swinv2Config,
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depths=[2, 1],
        num_heads=[2, 4],
        window_size=4,
    )


def handlens_convnext() -> Target:
    return _vision(
        hf.ConvNextForImageClassification,
        hf.ConvNextConfig,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        num_stages=2,
    )


def handlens_convnextv2() -> Target:
    return _vision(
        hf.ConvNextV2ForImageClassification,
        hf.ConvNextV2Config,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        num_stages=2,
    )


def handlens_resnet() -> Target:
    return _vision(
        hf.ResNetForImageClassification,
        hf.ResNetConfig,
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
    )


def handlens_regnet() -> Target:
    return _vision(
        hf.RegNetForImageClassification,
        hf.RegNetConfig,
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        groups_width=8,
    )


def handlens_mobilenet_v1() -> Target:
    return _vision(
        hf.MobileNetV1ForImageClassification, hf.MobileNetV1Config, depth_multiplier=0.25
    )


def handlens_mobilenet_v2() -> Target:
    return _vision(
        hf.MobileNetV2ForImageClassification, hf.MobileNetV2Config, depth_multiplier=0.25
    )


def handlens_efficientnet() -> Target:
    return _vision(
        hf.EfficientNetForImageClassification,
        hf.EfficientNetConfig,
        width_coefficient=0.25,
        kernel_sizes=[3, 5],
        in_channels=[32, 16],
        out_channels=[16, 24],
        depthwise_padding=[],
        strides=[1, 2],
        num_block_repeats=[1, 1],
        expand_ratios=[1, 4],
        hidden_dim=320,
    )


def handlens_mobilevit() -> Target:
    return _vision(
        hf.MobileViTForImageClassification,
        hf.MobileViTConfig,
        side=64,
        image_size=64,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
        num_attention_heads=4,
    )


def handlens_segformer() -> Target:
    return _vision(
        hf.SegformerForSemanticSegmentation,
        hf.SegformerConfig,
        side=64,
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[4, 2],
        hidden_sizes=[16, 32],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
    )


def handlens_pvt_v2() -> Target:
    return _vision(
        hf.PvtV2ForImageClassification,
        hf.PvtV2Config,
        image_size=32,
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[4, 2],
        hidden_sizes=[16, 32],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
    )


def handlens_poolformer() -> Target:
    return _vision(
        hf.PoolFormerForImageClassification,
        hf.PoolFormerConfig,
        num_encoder_blocks=2,
        depths=[1, 1],
        hidden_sizes=[16, 32],
        patch_sizes=[7, 3],
        strides=[4, 2],
        padding=[2, 1],
    )


def handlens_levit() -> Target:
    return _vision(
        hf.LevitForImageClassification,
        hf.LevitConfig,
        side=64,
        image_size=64,
        hidden_sizes=[16, 24, 32],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
    )


def handlens_focalnet() -> Target:
    return _vision(
        hf.FocalNetForImageClassification,
        hf.FocalNetConfig,
        image_size=32,
        embed_dim=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        focal_levels=[2, 2],
        focal_windows=[3, 3],
    )


def handlens_dpt() -> Target:
    return _transformer(
        hf.DPTForDepthEstimation,
        hf.DPTConfig,
        num_hidden_layers=4,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
    )


# -- sound -----------------------------------------------------------------------------------------

_WAVES: dict[str, Any] = _SIZES | {
    "conv_dim": [16, 16],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": VOCABULARY,
}


def handlens_whisper() -> Target:
    config = hf.WhisperConfig(
        vocab_size=VOCABULARY,
        num_mel_bins=16,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=32,
        max_target_positions=32,
        pad_token_id=0,
        use_cache=False,
    )
    inputs = {"input_features": normal(1, 16, 64), "decoder_input_ids": tokens(1, 6)}
    return seeded(hf.WhisperForConditionalGeneration, config), inputs


def handlens_wav2vec2() -> Target:
    return seeded(hf.Wav2Vec2ForCTC, hf.Wav2Vec2Config(**_WAVES)), (normal(1, 400),)


def handlens_hubert() -> Target:
    return seeded(hf.HubertModel, hf.HubertConfig(**_WAVES)), (normal(1, 400),)


def handlens_wavlm() -> Target:
    return seeded(hf.WavLMModel, hf.WavLMConfig(**_WAVES)), (normal(1, 400),)


def handlens_audio_spectrogram_transformer() -> Target:
    config = hf.ASTConfig(**_SIZES, patch_size=8, num_mel_bins=16, max_length=32)
    return seeded(hf.ASTModel, config), (normal(1, 32, 16),)
