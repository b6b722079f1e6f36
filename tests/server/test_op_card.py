"""The few lines that a hover shows."""

from dataclasses import replace

import pytest

from handlens.report import OpReport, Quantizer, Span
from handlens_server import op_card

OP = OpReport(
    handle=7,
    op="aten.conv2d.default",
    node="conv2d",
    module="features.0",
    inputs=(),
    spans=(Span("m.py", 1, 0, 1, 4),),
    shown=0,
    verdict="ok",
    sqnr_db=12.345,
    introduced_verdict="ok",
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
        "| Rounding alone | 41.0 dB |\n"
        "| MSE | 0.000125 |\n"
        "| Max abs error | 0.03 |\n"
        "| Cosine | 0.987650 |\n"
        "| Reference range | -1.5 to 2 |\n"
        "| Actual range | -1.25 to not finite |\n"
        "| Saturated | 1.23 % |\n"
        "| Quantized weight | int8 per-channel, scale 0.001 to 0.0125, zero point 0 |\n"
        "| Quantized output | uint8 per-tensor, scale computed for each input, "
        "zero point computed for each input |"
    )


def test_plain_text_says_the_same():
    text = op_card.plain(op_card.card([OP], "handlens_main"))
    lines = text.splitlines()
    assert lines[0] == "conv2d · features.0 · handlens_main"
    assert lines[1] == "SQNR              12.3 dB"
    assert len(lines) == 12


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("exact", "exact"),
        ("no-signal", "no signal: the reference is zero"),
        ("non-finite", "NaN or Inf where the reference is finite"),
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
    assert first == r"**a\*\|\<b\>\&\[x\](y)** · ``` a`b |c`` ```"


def test_the_instance_that_a_finding_is_about_comes_first():
    heir = replace(OP, handle=OP.handle + 1, module="heir", sqnr_db=OP.sqnr_db - 10)
    assert op_card.card([OP, heir]).op is heir
    card = op_card.card([OP, heir], found={OP.handle})
    assert (card.op, card.others) == (OP, (heir,))
