"""The few lines that a hover shows."""

from dataclasses import replace

import pytest

from handlens.report import NO_CAUSE, Cause, Finding, Histogram, Quantizer
from handlens_server.capabilities import Capabilities
from handlens_server.cards import op_card
from handlens_server.features import hover
from sample_ops import channels, half, losing_op, sample_op

OP = losing_op(
    7,
    12.345,
    module="features.0",
    introduced_sqnr_db=14.06,
    introduced_share=0.654,
    floor_sqnr_db=41.0,
    mse=1.25e-4,
    max_abs_error=0.03,
    cosine=0.98765,
    reference_range=(-1.5, 2.0),
    actual_range=(-1.25, None),
    saturated=0.0123,
    quantizers=(
        Quantizer("weight", "torch.int8", "per-channel", (0.001, 0.0125), (0, 0), -128, 127),
        Quantizer("output", "uint8", "per-tensor", None, None, 0, 255),
    ),
)


def test_it_says_what_was_measured():
    assert op_card.markdown(op_card.card([OP])) == (
        "**conv2d** · `features.0`\n"
        "\n"
        "| SQNR | **12.3 dB** |\n"
        "|:--|:--|\n"
        "| Introduced here | 14.1 dB, 65.4 % of the noise |\n"
        "| Quantized weight | int8 per-channel, scale 0.001 to 0.0125, zero point 0 |\n"
        "| Quantized output | uint8 per-tensor, scale computed for each input, "
        "zero point computed for each input |\n"
        "| Rounding alone | 41.0 dB |\n"
        "| MSE | 0.000125 |\n"
        "| Max abs error | 0.03 |\n"
        "| Cosine | 0.987650 |\n"
        "| Reference range | -1.5 to 2 |\n"
        "| Actual range | -1.25 to not finite |\n"
        "| Saturated | 1.23 % |\n"
        "| Debug handle | 7 |"
    )


def test_plain_text_says_the_same():
    text = op_card.plain(op_card.card([OP], "handlens_main"))
    lines = text.splitlines()
    assert lines[0] == "conv2d · features.0 · handlens_main"
    assert lines[1] == "SQNR              12.3 dB"
    assert lines[-1] == "Debug handle      7"
    assert len(lines) == 13


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("exact", "exact"),
        ("no-signal", "no signal: the reference is zero"),
        ("non-finite", "NaN or Inf where the reference is finite"),
        ("not-compared", "not compared"),
    ],
)
def test_a_verdict_is_put_in_words(verdict, words):
    op = replace(
        OP,
        verdict=verdict,
        sqnr_db=None,
        introduced_verdict=verdict,
        introduced_sqnr_db=None,
        floor_sqnr_db=None,
        mse=None,
        max_abs_error=None,
        cosine=None,
        reference_range=(None, None),
        actual_range=(None, None),
    )
    for text in (op_card.markdown(op_card.card([op])), op_card.plain(op_card.card([op]))):
        assert text.count(words) == 2
        assert "None" not in text


def test_the_worst_instance_comes_first_and_the_list_of_the_others_ends():
    ops = [replace(OP, module=f"blocks.{i}", sqnr_db=40.0 - i) for i in range(30)]
    broken = replace(OP, module="broken", verdict="non-finite", sqnr_db=None)
    exact = replace(OP, module="fine", verdict="exact", sqnr_db=None)
    card = op_card.card([exact, *ops, broken])
    assert card.op is broken
    assert [each.module for each in card.others[:2]] == ["blocks.29", "blocks.28"]
    assert card.others[-1] is exact
    text = op_card.markdown(card)
    assert "Also here: `blocks.29` 11.0 dB, `blocks.28` 12.0 dB, " in text
    assert text.endswith("`blocks.6` 34.0 dB and 7 more")


def test_names_of_the_user_cannot_break_the_markdown():
    op = replace(OP, op="a*|<b>&[x](y)", module="a`b\n|c``")
    first = op_card.markdown(op_card.card([op])).splitlines()[0]
    assert first == r"**a\*\|\<b\>\&\[x\](y)** · ``` a`b\n|c`` ```"


@pytest.mark.parametrize("markdown", [True, False])
def test_a_hover_is_never_too_long_to_be_shown(markdown):
    errors = Histogram(-1.0, 1.0, tuple(range(10**6, 10**6 + 200)))
    ops = [
        replace(OP, module="|" * 100_000, op="`" * 1000, sqnr_db=i / 7, errors=errors)
        for i in range(1000)
    ]
    cards = [op_card.card(ops, "*" * 1000, [about(OP, Cause("#" * 1000))]) for _ in range(20)]
    client = Capabilities(markdown=markdown, images=True, command_links=True)
    text = hover.content(cards, client, "A note.", "file:///" + "é" * 1000).value
    assert len(text) < 100_000
    assert "more targets run this." in text


def about(op, cause=NO_CAUSE, rule="HL101"):
    return Finding(rule, "error", "message", op.handle, op.span, cause=cause)


def test_the_instance_that_a_finding_is_about_comes_first():
    heir = replace(OP, handle=OP.handle + 1, module="heir", sqnr_db=OP.sqnr_db - 10)
    assert op_card.card([OP, heir]).op is heir
    card = op_card.card([OP, heir], findings=[about(OP)])
    assert (card.op, card.others) == (OP, (heir,))


def test_the_cause_comes_before_the_numbers_and_once():
    findings = [
        about(OP, Cause("channel *7* is loud", "clamp it")),
        about(OP, Cause("channel *7* is loud", "clamp it"), "HL104"),
        about(replace(OP, handle=8), Cause("another")),
    ]
    card = op_card.card([OP], findings=findings)
    assert op_card.markdown(card).splitlines()[2:6] == [
        r"channel \*7\* is loud  ",
        "clamp it",
        "",
        "| SQNR | **12.3 dB** |",
    ]
    assert op_card.plain(card).splitlines()[1:4] == [
        "channel *7* is loud",
        "clamp it",
        "SQNR              12.3 dB",
    ]


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({"weight_share": 0.83}, "From its weight 83 % of what it introduces"),
        ({"clipping_share": 0.4}, "Saturated 1.23 %, 40 % of what it introduces"),
        ({"vanished": 0.05}, "Rounded to zero 5 % of the nonzero values"),
        (
            {"worst_batch": 3, "worst_batch_sqnr_db": 7.12},
            "Worst batch 7.1 dB, number 3 counted from 0",
        ),
        (
            {"channels": (channels(55.2, 1.3),)},
            "Loudest output channel 17 of 32 reaches 55.2, the median one 1.3",
        ),
        ({"quantizers": (half("bfloat16"),)}, "Quantized output cast to bfloat16"),
    ],
)
def test_what_explains_a_loss_has_a_row_where_it_is_known(fields, row):
    def rows(op):
        return [" ".join(line.split()) for line in op_card.plain(op_card.card([op])).splitlines()]

    assert row not in rows(OP)
    assert row in rows(replace(OP, **fields))


def test_the_only_batch_is_not_the_worst():
    only = replace(OP, worst_batch=0, worst_batch_sqnr_db=OP.sqnr_db)
    assert "Worst batch" not in op_card.plain(op_card.card([only]))


def test_an_op_in_float_is_not_quantized_and_says_why():
    alone = sample_op(7, None, in_float="keep_float asks for it")
    text = op_card.plain(op_card.card([alone]))
    assert "Introduced here  not quantized: keep_float asks for it" in text
    assert "exact" not in text
    rounded = replace(OP, in_float="x86 does not take it")
    text = op_card.plain(op_card.card([rounded]))
    assert "Introduced here   14.1 dB" in text
    assert "computes in float, its output alone is quantized: x86 does not take it" in text
