"""Models of text by Hugging Face's transformers: encoders, decoders, and both together."""

from __future__ import annotations

from typing import Any

import transformers as hf

from benchmarks.architectures.building import (
    VOCABULARY,
    LastHiddenState,
    Target,
    padding,
    seeded,
    tokens,
)

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    # Of so narrow layers, this makes outputs as large as inputs.
    "initializer_range": 0.2,
}


def _encoder(model: Any, config: Any, **options: Any) -> Target:
    inputs = {"input_ids": tokens(), "attention_mask": padding()}
    return LastHiddenState(seeded(model, config(**(_SIZES | options)))), inputs


def _decoder(model: Any, config: Any, **options: Any) -> Target:
    inputs = {"input_ids": tokens(), "attention_mask": padding()}
    sizes = _SIZES | {"use_cache": False, "pad_token_id": 0}
    return seeded(model, config(**(sizes | options))), inputs


def _grouped(model: Any, config: Any, **options: Any) -> Target:
    """A decoder whose heads share keys and values by twos."""
    return _decoder(model, config, num_key_value_heads=2, head_dim=8, **options)


def _translator(model: Any, config: Any, **options: Any) -> Target:
    inputs = {
        "input_ids": tokens(),
        "attention_mask": padding(),
        "decoder_input_ids": tokens(length=6),
    }
    sizes = {"vocab_size": VOCABULARY, "use_cache": False}
    return seeded(model, config(**sizes, **options)), inputs


_BART: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
}
_T5: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}


# -- encoders --------------------------------------------------------------------------------------


def handlens_bert() -> Target:
    return _encoder(hf.BertModel, hf.BertConfig)


def handlens_roberta() -> Target:
    return _encoder(hf.RobertaModel, hf.RobertaConfig)


def handlens_mpnet() -> Target:
    return _encoder(hf.MPNetModel, hf.MPNetConfig)


def handlens_distilbert() -> Target:
    return _encoder(
        hf.DistilBertModel, hf.DistilBertConfig, dim=32, hidden_dim=64, n_layers=2, n_heads=4
    )


def handlens_albert() -> Target:
    return _encoder(hf.AlbertModel, hf.AlbertConfig, embedding_size=16)


def handlens_electra() -> Target:
    return _encoder(hf.ElectraModel, hf.ElectraConfig, embedding_size=16)


def handlens_deberta() -> Target:
    return _encoder(
        hf.DebertaModel,
        hf.DebertaConfig,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        type_vocab_size=0,
    )


def handlens_deberta_v2() -> Target:
    return _encoder(
        hf.DebertaV2Model,
        hf.DebertaV2Config,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=8,
        share_att_key=True,
        type_vocab_size=0,
    )


def handlens_modernbert() -> Target:
    return _encoder(hf.ModernBertModel, hf.ModernBertConfig, pad_token_id=0)


def handlens_mobilebert() -> Target:
    return _encoder(
        hf.MobileBertModel,
        hf.MobileBertConfig,
        embedding_size=32,
        intra_bottleneck_size=16,
        true_hidden_size=16,
    )


def handlens_squeezebert() -> Target:
    return _encoder(hf.SqueezeBertModel, hf.SqueezeBertConfig, embedding_size=32)


def handlens_funnel() -> Target:
    config = hf.FunnelConfig(
        vocab_size=VOCABULARY,
        d_model=32,
        n_head=4,
        d_head=8,
        d_inner=64,
        block_sizes=[1, 1],
        num_decoder_layers=1,
    )
    return seeded(hf.FunnelModel, config), {"input_ids": tokens(), "attention_mask": padding()}


def handlens_esm() -> Target:
    return _encoder(hf.EsmModel, hf.EsmConfig, pad_token_id=0, position_embedding_type="rotary")


# -- decoders --------------------------------------------------------------------------------------


def handlens_gpt2() -> Target:
    return _decoder(hf.GPT2LMHeadModel, hf.GPT2Config, n_embd=32, n_layer=2, n_head=4)


def handlens_gpt_neo() -> Target:
    return _decoder(
        hf.GPTNeoForCausalLM,
        hf.GPTNeoConfig,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=4,
    )


def handlens_gpt_neox() -> Target:
    return _decoder(hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig)


def handlens_gptj() -> Target:
    return _decoder(hf.GPTJForCausalLM, hf.GPTJConfig, n_embd=32, n_layer=2, n_head=4, rotary_dim=4)


def handlens_opt() -> Target:
    return _decoder(hf.OPTForCausalLM, hf.OPTConfig, ffn_dim=64, word_embed_proj_dim=32)


def handlens_bloom() -> Target:
    return _decoder(hf.BloomForCausalLM, hf.BloomConfig, n_layer=2, n_head=4)


def handlens_falcon() -> Target:
    return _decoder(hf.FalconForCausalLM, hf.FalconConfig)


def handlens_llama() -> Target:
    return _grouped(hf.LlamaForCausalLM, hf.LlamaConfig)


def handlens_mistral() -> Target:
    return _grouped(hf.MistralForCausalLM, hf.MistralConfig, sliding_window=4)


def handlens_qwen2() -> Target:
    return _grouped(hf.Qwen2ForCausalLM, hf.Qwen2Config)


def handlens_qwen3() -> Target:
    return _grouped(hf.Qwen3ForCausalLM, hf.Qwen3Config)


def handlens_gemma2() -> Target:
    return _grouped(hf.Gemma2ForCausalLM, hf.Gemma2Config, sliding_window=4)


def handlens_gemma3() -> Target:
    return _grouped(hf.Gemma3ForCausalLM, hf.Gemma3TextConfig, sliding_window=4)


def handlens_phi3() -> Target:
    return _decoder(hf.Phi3ForCausalLM, hf.Phi3Config, num_key_value_heads=2)


def handlens_mixtral() -> Target:
    return _grouped(
        hf.MixtralForCausalLM,
        hf.MixtralConfig,
        num_hidden_layers=1,
        num_local_experts=4,
        num_experts_per_tok=2,
    )


def handlens_qwen3_moe() -> Target:
    return _grouped(
        hf.Qwen3MoeForCausalLM,
        hf.Qwen3MoeConfig,
        num_hidden_layers=1,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
    )


def handlens_mamba() -> Target:
    return _decoder(hf.MambaForCausalLM, hf.MambaConfig, state_size=8, num_hidden_layers=1)


def handlens_mamba2() -> Target:
    return _decoder(
        hf.Mamba2ForCausalLM,
        hf.Mamba2Config,
        state_size=8,
        num_heads=8,
        head_dim=8,
        n_groups=2,
        chunk_size=4,
        num_hidden_layers=1,
    )


# -- encoders with decoders ------------------------------------------------------------------------


def handlens_t5() -> Target:
    return _translator(hf.T5ForConditionalGeneration, hf.T5Config, **_T5)


def handlens_bart() -> Target:
    return _translator(hf.BartForConditionalGeneration, hf.BartConfig, **_BART)


def handlens_pegasus() -> Target:
    return _translator(hf.PegasusForConditionalGeneration, hf.PegasusConfig, **_BART)
