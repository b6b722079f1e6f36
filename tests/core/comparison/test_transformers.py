"""A BERT encoder of Hugging Face's transformers, with every kind of recipe."""

from __future__ import annotations

import pytest

from ..conftest import RunText

BERT = """
    import torch
    from transformers import BertConfig, BertModel

    def handlens_bert():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=100,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=32,
        )
        mask = torch.ones(2, 16, dtype=torch.long)
        mask[1, 10:] = 0
        return {
            "model": BertModel(config, add_pooling_layer=False),
            "example_inputs": (torch.randint(0, 100, (2, 16)), mask),
        }
"""
LINEAR, EMBEDDING = 12, 3


@pytest.mark.parametrize(
    ("recipe", "with_weights", "decibels"),
    [
        ("x86", LINEAR, 30),
        ("x86+embedding", LINEAR + EMBEDDING, 30),
        ("xnnpack", LINEAR, 20),
        ("int8-weight-only", LINEAR, 40),
        ("int8-dynamic", LINEAR, 35),
        ("int4-weight-only", LINEAR, 15),
        ("bf16", 0, 35),
        ("fp16", 0, 50),
    ],
)
def test_every_op_of_bert_is_matched_or_accounted_for(
    run_text: RunText, recipe: str, with_weights: int, decibels: float
) -> None:
    report = run_text(BERT, recipe=recipe)
    assert report.status == "ok", report.error
    assert report.coverage is not None
    assert report.output is not None
    assert report.coverage.matched + len(report.coverage.unmatched) == report.coverage.ops
    assert {each.reason for each in report.coverage.unmatched} <= {
        "no tensor output",
        "nothing reads its output",
        "computed from constants, beforehand",
    }
    assert {finding.rule for finding in report.findings} <= {"HL101", "HL102"}
    weights = [op.name for op in report.ops if any(each.role == "weight" for each in op.quantizers)]
    assert weights.count("linear") + weights.count("embedding") == with_weights
    assert report.output.sqnr_db is not None
    assert report.output.sqnr_db > decibels
