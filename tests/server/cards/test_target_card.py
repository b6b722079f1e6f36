"""The few lines that the hover of a target shows."""

from __future__ import annotations

import re
from dataclasses import replace

from handlens.advice_report import Advice, Change, Cost, Scores, Step
from handlens.report import (
    Caveat,
    Coverage,
    Difference,
    LogitsAgreement,
    Metric,
    OutputAccuracy,
    QuantizedBy,
    Report,
    StaysInFloat,
    Verification,
)
from handlens_server.cards import target_card

REPORT = Report(
    *("handlens_main", "net.py", "x86", "ok"),
    output=OutputAccuracy("ok", 19.53, 0.1, 0.2, 0.99),
    coverage=Coverage(9, 8, 6, (), (), (StaysInFloat("aten.lstm.input", "n", "rnn", "why"),)),
    quantized_by=(QuantizedBy("X86InductorQuantizer", "torchao", "0.18.0"),),
    verified=Verification("ok", 131.4),
)
DIFFERS = Verification("differs", -6.8, "", Difference("export", "aten.mul.Tensor"), -6.7)


def test_it_says_what_was_verified_and_what_quantized() -> None:
    assert target_card.markdown(REPORT).splitlines() == [
        "`handlens_main` · recipe `x86`",
        "",
        "| Output | **19.5 dB** |",
        "|:--|:--|",
        "| Verified | reference = model (131 dB) |",
        r"| Quantized | 6 ops by X86InductorQuantizer (torchao 0.18.0) |",
        "| Left in float | 1 lstm |",
        "| Compared | 8 of 9 ops |",
    ]


def test_it_says_how_logits_agree_and_what_the_metric_gives() -> None:
    output = OutputAccuracy(
        *("ok", 9.21, 0.1, 0.2, 0.99, ""),
        LogitsAgreement(0.972, 0.031, 64),
        Metric("top_5", 0.982, 0.914),
    )
    [_, row, *_] = target_card.plain(replace(REPORT, output=output)).splitlines()
    assert row.endswith(
        "9.2 dB · top-1 agrees in 97.2 % of 64 rows · KL 0.031 nats · top_5 0.982 → 0.914"
    )
    assert r"top\_5 0.982" in target_card.markdown(replace(REPORT, output=output))


def test_it_says_what_helps_once_that_was_measured() -> None:
    change = Change("keep-float", ("conv2",), (4,), "conv2")
    advice = Advice(Scores(19.53), steps=(Step(change, Scores(39.46), Cost(0.4, 0.1)),))
    [_, _, row, *_] = target_card.plain(replace(REPORT, advice=advice)).splitlines()
    assert row.split(maxsplit=2) == ["What", "helps", "keep conv2 in float: output 19.5 → 39.5 dB"]
    nothing = replace(REPORT, advice=Advice(Scores(19.53)))
    assert "What helps" not in target_card.plain(nothing)


def test_a_reference_that_is_not_the_model_comes_first() -> None:
    _, first, *rest = target_card.plain(replace(REPORT, verified=DIFFERS)).splitlines()
    assert first == (
        "The reference is not the model. From mul on, the exported graph computes something else."
    )
    assert "Against the model  -6.7 dB" in rest


def test_what_was_not_compared_is_not_measured() -> None:
    output = OutputAccuracy("not-compared", None, None, None, None, "it is *text*")
    text = target_card.markdown(replace(REPORT, output=output, verified=None, coverage=None))
    assert text.splitlines()[2] == r"| Output | **not compared: it is \*text\*** |"


def test_it_says_what_the_output_was_before() -> None:
    _, _, row, *_ = target_card.plain(REPORT, (9.23, 12.0)).splitlines()
    assert re.fullmatch(r"History +9\.2 → 12\.0 → 19\.5 dB", row.strip())


def test_it_says_what_its_numbers_are_worth() -> None:
    *_, row = target_card.plain(
        replace(REPORT, caveats=(Caveat("compared on one batch, of 1", "give more"),))
    ).splitlines()
    assert re.fullmatch(r"Caveat +compared on one batch, of 1: give more", row.strip())
