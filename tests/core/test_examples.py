"""The examples: what the models do before they are quantized, and whose line every operation is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from handlens.capture.export import capture
from handlens.capture.handles import generate_numeric_debug_handle, handle_of
from handlens.loading.importing import Sources
from handlens.loading.module import load
from handlens.loading.subject import Subject, build
from handlens.report import Report
from handlens.request import AdviceRequest, RunRequest
from handlens.session import Session
from handlens.source_text import read
from handlens.targets import discover
from tests.needs import needs_columns

from .capture.test_capture import text_under
from .conftest import EXAMPLES

BLOCK = ("block(x)",)
ATTENTION = ("self.attention(self.attention_norm(x))", *BLOCK)
ATTEND = ("self.attend(query, key, value)", *ATTENTION)
VIEW = "x.view(batch, tokens, self.heads, width // self.heads)"
SPLITS = [(f"self.split_heads(self.{name}(x))", *ATTENTION) for name in ("query", "key", "value")]

# What each operation is, and the source expressions that led to it, innermost first; in graph order,
# one pass through each loop.
SPANS: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "tiny_cnn.py": [
        ("conv2d", ("self.conv1(x)",)),
        ("batch_norm", ("self.bn1(self.conv1(x))",)),
        ("relu", ("F.relu(self.bn1(self.conv1(x)))",)),
        ("conv2d", ("self.conv2(x)",)),
        ("batch_norm", ("self.bn2(self.conv2(x))",)),
        ("relu", ("F.relu(self.bn2(self.conv2(x)))",)),
        ("max_pool2d", ("F.max_pool2d(x, 2)",)),
        ("conv2d", ("self.conv3(x)",)),
        ("relu", ("F.relu(self.conv3(x))",)),
        ("flatten", ("x.flatten(1)",)),
        ("linear", ("self.classifier(x)",)),
    ],
    "transformer_block.py": [
        ("embedding", ("self.embedding(tokens)",)),
        ("add", ("self.embedding(tokens) + self.position",)),
        ("layer_norm", ("self.attention_norm(x)", *BLOCK)),
        ("linear", ("self.query(x)", *ATTENTION)),
        ("view", (VIEW, *SPLITS[0])),
        ("transpose", (f"{VIEW}.transpose(1, 2)", *SPLITS[0])),
        ("linear", ("self.key(x)", *ATTENTION)),
        ("view", (VIEW, *SPLITS[1])),
        ("transpose", (f"{VIEW}.transpose(1, 2)", *SPLITS[1])),
        ("linear", ("self.value(x)", *ATTENTION)),
        ("view", (VIEW, *SPLITS[2])),
        ("transpose", (f"{VIEW}.transpose(1, 2)", *SPLITS[2])),
        ("transpose", ("key.transpose(-2, -1)", *ATTEND)),
        ("matmul", ("query @ key.transpose(-2, -1)", *ATTEND)),
        ("div", ("scores / math.sqrt(query.shape[-1])", *ATTEND)),
        ("softmax", ("F.softmax(scores / math.sqrt(query.shape[-1]), dim=-1)", *ATTEND)),
        ("matmul", ("weights @ value", *ATTEND)),
        ("transpose", ("x.transpose(1, 2)", f"self.merge_heads({ATTEND[0]})", *ATTENTION)),
        ("flatten", ("x.transpose(1, 2).flatten(2)", f"self.merge_heads({ATTEND[0]})", *ATTENTION)),
        ("linear", ("self.output(x)", *ATTENTION)),
        ("add", (f"x + {ATTENTION[0]}", *BLOCK)),
        ("layer_norm", ("self.mlp_norm(x)", *BLOCK)),
        ("linear", ("self.widen(x)", "self.mlp(self.mlp_norm(x))", *BLOCK)),
        ("gelu", ("F.gelu(self.widen(x))", "self.mlp(self.mlp_norm(x))", *BLOCK)),
        ("linear", ("self.narrow(x)", "self.mlp(self.mlp_norm(x))", *BLOCK)),
        ("add", ("x + self.mlp(self.mlp_norm(x))", *BLOCK)),
        ("layer_norm", ("self.norm(x)",)),
        ("mean", ("self.norm(x).mean(dim=1)",)),
        ("linear", ("self.classifier(x)",)),
    ],
    "efficientnet_lite.py": [
        ("pad", ("self.stem_pad(x)",)),
        ("conv2d", ("self.stem(self.stem_pad(x))",)),
        ("batch_norm", ("self.stem_bn(x)",)),
        ("relu6", ("F.relu6(self.stem_bn(x))",)),
        ("conv2d", ("self.depthwise(self.pad(x))", *BLOCK)),
        ("batch_norm", ("self.depthwise_bn(x)", *BLOCK)),
        ("relu6", ("F.relu6(self.depthwise_bn(x))", *BLOCK)),
        ("conv2d", ("self.project(x)", *BLOCK)),
        ("batch_norm", ("self.project_bn(x)", *BLOCK)),
        ("conv2d", ("self.expand(x)", *BLOCK)),
        ("batch_norm", ("self.expand_bn(x)", *BLOCK)),
        ("relu6", ("F.relu6(self.expand_bn(x))", *BLOCK)),
        ("pad", ("self.pad(x)", *BLOCK)),
        ("add", ("x + shortcut", *BLOCK)),
        ("conv2d", ("self.head(x)",)),
        ("batch_norm", ("self.head_bn(x)",)),
        ("relu6", ("F.relu6(self.head_bn(x))",)),
        ("adaptive_avg_pool2d", ("self.pool(x)",)),
        ("flatten", ("self.pool(x).flatten(1)",)),
        ("dropout", ("self.dropout(x)",)),
        ("linear", ("self.classifier(x)",)),
    ],
}
OPERATIONS = {"tiny_cnn.py": 12, "transformer_block.py": 77, "efficientnet_lite.py": 149}


def subject(name: str) -> Subject:
    file = str(EXAMPLES / name)
    return build(discover(read(file), file)[0], load(Sources(file, read(file))))


@needs_columns
@pytest.mark.parametrize("name", SPANS)
def test_every_operation_is_on_its_own_expression(name: str) -> None:
    given = subject(name)
    captured = capture(given.model, given.args)
    generate_numeric_debug_handle(captured.program)
    operations = [
        (node.target._opname, tuple(text_under(span) for span in captured.spans(node)))
        for node in captured.program.graph.nodes
        if handle_of(node) is not None
    ]
    assert len(operations) == OPERATIONS[name]
    assert list(dict.fromkeys(operations)) == SPANS[name]


CATS = range(281, 286)
ESPRESSO = 967


@pytest.fixture(scope="module")
def photographs() -> tuple[torch.nn.Module, list[Tensor]]:
    given = subject("efficientnet_lite.py")
    return given.model, [args[0] for args, _ in given.evaluation_inputs()]


def test_the_network_knows_a_cat_and_an_espresso(
    photographs: tuple[torch.nn.Module, list[Tensor]],
) -> None:
    model, (cat, coffee) = photographs
    with torch.no_grad():
        assert int(model(cat).argmax()) in CATS
        assert int(model(coffee).argmax()) == ESPRESSO


def test_the_demo_has_findings_and_none_of_them_is_a_folding_artefact(
    efficientnet_lite: Report,
) -> None:
    report = efficientnet_lite
    assert report.status == "ok"
    assert report.coverage is not None
    assert (report.coverage.ops, report.coverage.matched) == (149, 100)
    assert {each.reason for each in report.coverage.unmatched} == {"folded by the recipe"}
    assert report.output is not None
    assert report.output.sqnr_db == pytest.approx(17, abs=2)
    assert set(report.timings) == {"load", "export", "quantize", "compare"}
    by_handle = {op.handle: op for op in report.ops}
    named = [by_handle[f.handle] for f in report.findings if f.handle and f.rule == "HL101"]
    assert {op.module for op in named} >= {"stem", "blocks.0.depthwise"}
    for finding in report.findings:
        if finding.handle is None:
            assert (finding.rule, finding.severity) == ("HL105", "warning")
            continue
        op = by_handle[finding.handle]
        assert op.sqnr_db is not None
        assert op.sqnr_db > 0


def test_trained_convolutions_lose_what_rounding_must_cost(efficientnet_lite: Report) -> None:
    # Depthwise ones sum few products, of channels that are unlike each other.
    pointwise = [
        op
        for op in efficientnet_lite.ops
        if op.module.endswith(("expand", "project", "head", "classifier"))
    ]
    assert len(pointwise) > 30
    for op in pointwise:
        assert op.floor_sqnr_db == pytest.approx(op.introduced_sqnr_db, abs=1), op.module


def test_the_tiny_network_s_loud_channel_is_the_cause(tiny_cnn: Report) -> None:
    by_handle = {op.handle: op for op in tiny_cnn.ops}
    causes = {by_handle[f.handle].name: f.cause for f in tiny_cnn.findings if f.handle and f.cause}
    assert causes["relu"].why.startswith("channel 3 reaches 436, the median channel 2.13")
    assert causes["conv2d"].why.startswith("its weight")


@needs_columns
def test_the_tiny_network_loses_at_its_loud_channel(tiny_cnn: Report) -> None:
    lines = read(str(EXAMPLES / "tiny_cnn.py")).split("\n")
    shown = {
        lines[f.span.line - 1][f.span.column : f.span.end_column]
        for f in tiny_cnn.findings
        if f.span and f.rule == "HL101"
    }
    assert {"F.relu(self.bn1(self.conv1(x)))", "self.conv2(x)"} <= shown


def test_the_transformer_survives(transformer_block: Report) -> None:
    assert transformer_block.findings == ()
    assert transformer_block.output is not None
    assert transformer_block.output.sqnr_db is not None
    assert transformer_block.output.sqnr_db > 35


def test_advice_gets_the_digits_back_that_8_bits_lose() -> None:
    file = str(EXAMPLES / "digits.py")
    request = RunRequest(discover(read(file), file)[0], advise=AdviceRequest())
    session = Session(request, lambda stage: None)
    assert (session.load() or session.export()) is None
    report = session.compare(request)
    assert report.output is not None
    assert report.output.metric is not None
    recognised = report.output.metric
    assert recognised.reference is not None
    assert recognised.quantized is not None
    assert recognised.reference > 0.95
    assert recognised.quantized < 0.5

    advice = session.advise(report, AdviceRequest(), lambda advice: None).advice
    assert advice is not None
    entries = tuple(entry for step in advice.steps for entry in step.change.entries)
    repaired = session.compare(replace(request, keep_float=entries)).output
    assert repaired is not None
    assert repaired.metric is not None
    assert repaired.metric.quantized == pytest.approx(recognised.reference, abs=0.01)
