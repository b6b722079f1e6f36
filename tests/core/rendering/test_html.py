"""The report page: it says what was measured, shows hostile text as text, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from handlens.rendering import html
from handlens.rendering.view import View
from handlens.report import (
    Cause,
    Coverage,
    Difference,
    Document,
    Failure,
    Finding,
    Histogram,
    LogitsAgreement,
    Metric,
    OpReport,
    OutputAccuracy,
    QuantizedBy,
    Report,
    StaysInFloat,
    Unmatched,
    Verification,
    failed,
)
from tests.sample_ops import FILE, losing_op, quantizer, sample_op

HOSTILE = "<script>alert(1)</script>&\"'\u202e\x1b[31m{{ 1 }}"
SOURCE = "\n".join(f"    y = {'x' * 5} # {HOSTILE}" for _ in range(40))
VIEW = View(lambda file: SOURCE if file == FILE else None, "/")


def report(ops: list[OpReport], **fields: Any) -> Report:
    given: dict[str, Any] = {
        "output": OutputAccuracy("ok", 17.25, 0.1, 0.2, 0.99),
        "batches": 2,
        "coverage": Coverage(
            len(ops) + 1, len(ops), len(ops), (Unmatched("a.b", "n", "m", "why"),)
        ),
        "ops": tuple(ops),
        "findings": (),
        "timings": {"load": 0.5, "compare": 1.5},
    }
    return Report("handlens_x", FILE, "x86", "ok", **(given | fields))


def render(*reports: Report) -> str:
    return html.render(Document("1.0", "2.13.0", reports), VIEW)


class Reader(HTMLParser):
    """The elements and the texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip() and self.tags[-1][0] != "style":
            self.texts.append(data.strip())


def test_the_page_has_what_was_measured() -> None:
    errors = Histogram(-1.0, 1.0, (1, 4, 1))
    ops = [losing_op(1, 12.5, module="blocks.0", errors=errors), losing_op(2, None, module="head")]
    finding = Finding(
        "HL101", "error", "conv2d 12.5 dB", 1, ops[0].span, cause=Cause("because", "of this")
    )
    texts = Reader(render(report(ops, findings=(finding,)))).texts
    for said in (
        "17.2 dB",
        "2 of 3 ops",
        "blocks.0",
        "12.5 dB",
        "HL101 low-sqnr",
        "because",
        "of this",
        "why",
    ):
        assert said in texts
    assert "load 0.50 s" in texts


def test_whatever_a_text_says_it_is_text() -> None:
    op = losing_op(1, 3.0, module=HOSTILE, node=HOSTILE)
    finding = Finding("HL101", "error", HOSTILE, 1, op.span, cause=Cause(HOSTILE, HOSTILE))
    hostile = replace(report([op], findings=(finding,)), target=HOSTILE, recipe=HOSTILE)
    broken = failed(HOSTILE, FILE, HOSTILE, Failure("HL301", HOSTILE, None, HOSTILE))
    text = render(hostile, broken)
    read = Reader(text)
    assert "script" not in {tag for tag, _ in read.tags}
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    assert any("<script>alert(1)</script>" in said for said in read.texts)
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "{{ 1 }}" in text


def test_the_page_loads_nothing_and_its_policy_allows_its_own_style_alone() -> None:
    text = render(report([losing_op(1, 3.0)]))
    read = Reader(text)
    for tag, attributes in read.tags:
        assert tag not in ("script", "link", "img", "iframe")
        assert not {"src", "href", "style"} & attributes.keys()
    [style] = re.findall("<style>(.*)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(a["content"] for _, a in read.tags if a.get("http-equiv"))
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'"
    assert "url(" not in style


@pytest.mark.slow
def test_ten_thousand_ops_fit_a_page() -> None:
    ops = [
        losing_op(n, 10 + n % 50, module=f"layers.{n // 7}.part.{n % 7}", line=1 + n % 40)
        for n in range(1, 10_001)
    ]
    assert len(render(report(ops))) < 1_000_000


def test_a_run_that_measured_nothing_has_a_page_too() -> None:
    nothing = report([], output=None, coverage=None, timings={})
    assert "handlens_x" in render(nothing)


# -- what the numbers are about --------------------------------------------------------------------


def test_the_page_says_what_was_verified_and_who_quantized() -> None:
    by = QuantizedBy("X86InductorQuantizer", "torchao", "0.18.0")
    verified = Verification("ok", 131.4)
    texts = Reader(render(report([losing_op(1)], verified=verified, quantized_by=(by,)))).texts
    assert "reference = model (131 dB)" in texts
    assert "by X86InductorQuantizer (torchao 0.18.0)" in texts


def test_the_page_says_how_logits_agree_and_what_the_metric_gives() -> None:
    logits, metric = LogitsAgreement(0.972, 0.031, 64), Metric(HOSTILE, 0.982, 0.914)
    output = OutputAccuracy("ok", 17.25, 0.1, 0.2, 0.99, "", logits, metric)
    page = render(report([losing_op(0, 20.0)], output=output))
    assert "<div><dt>top-1 agrees in</dt><dd>97.2 % of 64 rows</dd></div>" in page
    assert "<div><dt>KL</dt><dd>0.031 nats</dd></div>" in page
    assert "<dd>0.982 → 0.914</dd>" in page
    assert HOSTILE not in page


def test_a_reference_that_is_not_the_model_stands_above_all_numbers() -> None:
    op = losing_op(1, 40.0)
    begins = Difference("recipe", op.op, "stem", 3.04, 9, op.span)
    verified = Verification("differs", -6.8, "", begins, -6.7)
    finding = Finding("HL204", "error", "no longer the model", 9, op.span)
    given = report([op], verified=verified, findings=(finding,))
    texts = Reader(render(given)).texts
    alarm = texts.index("HL204 reference-differs: the reference is not the model")
    assert alarm < texts.index("SQNR along the network")
    assert texts[alarm + 1].startswith(
        "From conv2d in stem on, the graph that recipe x86 quantizes"
    )
    for name, value in (
        ("reference against the model", "-6.8 dB"),
        ("quantized model against the reference", "17.2 dB"),
        ("quantized model against the model", "-6.7 dB"),
    ):
        assert texts[texts.index(name) + 1] == value
    assert not any("no longer the model" in each for each in texts), "the alarm says it already"
    # Whoever suppresses the finding has not made the numbers any better.
    assert 'role="alert"' in render(replace(given, findings=()))


def test_what_was_not_checked_or_not_compared_is_said() -> None:
    texts = Reader(
        render(
            report(
                [],
                output=OutputAccuracy("not-compared", None, None, None, None, "it is text"),
                verified=Verification(
                    "not-checked", reason="the model itself raised", comparison="outputs"
                ),
            )
        )
    ).texts
    for said in (
        "not compared",
        "it is text",
        "not against the model: the model itself raised",
        "outputs alone: the ops cannot be compared as they run by themselves",
        "No op was compared.",
    ):
        assert said in texts


def test_an_op_in_float_is_not_quantized_and_never_exact() -> None:
    alone = sample_op(1, None, in_float="keep_float asks for it")
    rounded = losing_op(2, 40.0, in_float="x86 does not take it", quantizers=(quantizer("output"),))
    lossy = sample_op(3, 30.0, in_float="nothing reads its output")
    ops = [alone, rounded, lossy]
    coverage = Coverage(
        3, 3, 0, (), (), (StaysInFloat("aten.lstm.input", "n", "rnn", "no recurrent layers", 9),)
    )
    text = render(report(ops, coverage=coverage))
    texts = Reader(text).texts
    assert "exact" not in texts
    assert "not quantized: nothing reads its output" in texts
    assert "computes in float, its output alone is quantized: x86 does not take it" in texts
    assert "1 left in float, though of a kind that the recipe quantizes" in texts
    assert "no recurrent layers" in texts
    assert "3 more in float, as is to be expected" in texts
    assert "conv2d: not quantized" in texts, "the cell of an op that computes in float"
