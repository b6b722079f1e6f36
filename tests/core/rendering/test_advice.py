"""What a terminal and the page show of advice: only what was measured, and whether it is enough."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from handlens.advice_report import Advice, Scores
from handlens.rendering import html
from handlens.rendering.advice import Tables, so_far
from handlens.rendering.advice_curve import Curve
from handlens.rendering.text import render
from handlens.rendering.view import View
from handlens.report import Document, Metric, OutputAccuracy, Report
from tests.core.rendering.sample_advice import ADVICE, step
from tests.sample_ops import FILE, losing_op

ONE_STEP = replace(ADVICE, steps=ADVICE.steps[:1])
NO_STEP = replace(ADVICE, steps=(), alternatives=())


def document(advice: Advice) -> Document:
    output = OutputAccuracy("ok", 9.16, 0.1, 0.2, 0.9)
    made = Report("handlens_x", FILE, "x86", "ok", output=output, ops=(losing_op(1, 12.5),))
    return Document("0.1.0", None, (replace(made, advice=advice),))


def text(advice: Advice, terminal_width: int | None = None) -> str:
    console = None
    if terminal_width is not None:
        console = Console(
            file=io.StringIO(), width=terminal_width, force_terminal=True, color_system=None
        )
    return render(document(advice), View(lambda _: None, "/", console=console))


def row(rendered: str, *parts: str) -> str:
    (found,) = [line for line in rendered.splitlines() if all(part in line for part in parts)]
    return " ".join(found.split())


def test_each_step_has_its_output_its_gain_and_its_cost() -> None:
    shown = text(ADVICE)
    assert row(shown, "top-1") == "change output wins top-1 MACs weights"
    assert row(shown, "no change") == "no change 9.2 dB 87.5 %"
    assert row(shown, "1  keep") == "1 keep conv2 in float 39.5 dB +30.3 dB 99.5 % 41 % 5.25 % ✓"
    assert row(shown, "2  keep") == "2 keep head in float 43.0 dB +3.5 dB 41 % 5.25 %"
    assert row(shown, "measured") == "measured 75 measurements in 3.2 s, of 9 units"
    assert row(shown, "verified") == (
        "verified ✓ 1 of 2 outputs by a run of the recipe with these changes"
    )
    assert row(shown, "to paste") == 'to paste "keep_float": ["conv2", "head"],'


def test_outputs_that_no_run_has_confirmed_have_no_mark() -> None:
    unverified = replace(ADVICE, steps=(replace(ADVICE.steps[0], verified=False),))
    shown = text(unverified)
    assert "✓" not in shown
    assert row(shown, "verified") == (
        "verified none of the outputs by a run of the recipe with these changes"
    )


def test_columns_are_there_for_what_was_measured() -> None:
    before, after = Scores(9.0, metric=0.75), Scores(12.0, metric=0.81234)
    advice = Advice(before, "metric", (step("a", 1, after),), units=1)
    output = OutputAccuracy("ok", 9.0, 0.1, 0.2, 0.9, metric=Metric("accuracy", 0.9, 0.75))
    made = replace(document(advice).reports[0], output=output)
    shown = render(Document("0.1.0", None, (made,)), View(lambda _: None, "/"))
    assert row(shown, "MACs", "output") == "change output wins accuracy MACs weights"
    assert row(shown, "1  keep") == "1 keep a in float 12.0 dB +0.0623 0.8123 41 % 5.25 % ✓"


def test_what_can_be_done_instead_of_float_is_shown_beside_what_float_gives() -> None:
    assert row(text(ADVICE), "16 bits") == (
        "quantize the output of conv2 to 16 bits 35.1 dB +26.0 dB 0 % 0 % 39.5 dB"
    )


@pytest.mark.parametrize(
    ("advice", "sentence"),
    [
        (replace(ADVICE, reach_db=39.0), "39 dB is reached with 1 change."),
        (replace(ADVICE, reach_db=42.5), "42.5 dB is reached with 2 changes."),
        (replace(ADVICE, reach_db=9.0), "9 dB is reached without any change."),
        (
            replace(ADVICE, reach_db=50.0),
            "50 dB is not reached: the output is 43.0 dB with 2 changes.",
        ),
        (replace(NO_STEP, reach_db=50.0), "50 dB is not reached."),
        (
            NO_STEP,
            "Nothing that was tried wins enough to be worth a change: "
            "the most is +30.3 dB, to keep conv2 in float.",
        ),
        (
            replace(NO_STEP, alone=(), before=Scores(None, exact=True)),
            "There is nothing to win: the output is exactly the reference.",
        ),
        (replace(NO_STEP, alone=(), units=0), "There is nothing to change: no op is quantized."),
        (
            replace(ADVICE, complete=False),
            "The search was ended before it was complete: another change may win more.",
        ),
    ],
)
def test_a_sentence_says_what_came_of_the_search(advice: Advice, sentence: str) -> None:
    assert f"  {sentence}\n" in text(advice)
    assert f">{sentence}<" in html.render(document(advice), View(lambda _: None, "/"))


def test_steps_beyond_the_wish_are_not_recommended() -> None:
    advice = replace(ADVICE, reach_db=39.0)
    assert row(text(advice), "to paste") == 'to paste "keep_float": ["conv2"],'
    steps = Tables(document(advice).reports[0], advice).steps
    assert [each.is_recommended for each in steps.rows] == [True, True, False]


def test_a_search_that_was_ended_early_says_nothing_of_what_was_not_tried() -> None:
    shown = text(replace(NO_STEP, complete=False))
    assert "worth" not in shown
    assert row(shown, "keep conv2") == "keep conv2 in float 39.5 dB +30.3 dB 99.5 % 0 % 0 %"


def test_no_advice_has_its_reason_and_no_numbers() -> None:
    shown = text(replace(ADVICE, reason="the outputs\x1b[31m cannot be compared"))
    assert row(shown, "no advice") == "no advice the outputs\\x1b[31m cannot be compared"
    assert "dB" not in shown
    page = html.render(
        document(replace(ADVICE, reason="the outputs cannot be compared")),
        View(lambda _: None, "/"),
    )
    assert "No advice: the outputs cannot be compared" in page
    assert "keep conv2" not in page


def test_an_exact_output_has_no_gain() -> None:
    exact = replace(ADVICE, steps=(step("a", 1, Scores(None, exact=True)),))
    assert row(text(exact), "1  keep") == "1 keep a in float exact 41 % 5.25 % ✓"


@pytest.mark.parametrize("width", [30, 80, 120])
def test_a_narrow_terminal_wraps_names_and_cuts_off_no_number(width: int) -> None:
    long = step("features.3.conv with relu6", 1, Scores(39.5))
    shown = text(replace(ADVICE, steps=(long,)), width)
    assert "…" not in shown
    (first,) = [line for line in shown.splitlines() if line.lstrip().startswith("1 ")]
    assert first.split()[-6:] == ["39.5", "dB", "+30.3", "dB", "41", "%", "5.25", "%", "✓"][-6:]


def test_the_best_so_far_is_told_while_the_search_goes_on() -> None:
    assert so_far(replace(NO_STEP, alone=())) == ""
    assert so_far(NO_STEP) == "9.2 dB → 39.5 dB with 1 change"
    assert so_far(ADVICE) == "9.2 dB → 43.0 dB with 2 changes"


# -- the page --------------------------------------------------------------------------------------


def test_the_curve_rises_with_the_output_and_ends_where_it_is_exact() -> None:
    steps = (*ADVICE.steps, step("all", 1, Scores(None, exact=True)))
    points = Curve(replace(ADVICE, steps=steps)).points
    assert [point.label for point in points] == ["9.2 dB", "39.5 dB", "43.0 dB", "exact"]
    assert [point.x for point in points] == sorted({point.x for point in points})
    assert [point.y for point in points] == sorted({point.y for point in points}, reverse=True)
    assert points[-1].y == 0
    assert [point.is_verified for point in points] == [True, True, False, True]


def test_a_curve_parts_where_the_wish_is_reached() -> None:
    curve = Curve(replace(ADVICE, reach_db=39.0))
    assert curve.path.count("L") == 1
    assert curve.rest.count("L") == 1
    (shared,) = set(re.findall(r"[\d.]+ [\d.]+", curve.path)) & set(
        re.findall(r"[\d.]+ [\d.]+", curve.rest)
    )
    assert shared == f"{curve.points[1].x} {curve.points[1].y}"
    assert curve.wish is not None
    assert curve.points[1].y < curve.wish < curve.points[0].y


def test_the_page_has_curve_table_and_what_to_paste() -> None:
    page = html.render(document(replace(ADVICE, reach_db=39.0)), View(lambda _: None, "/"))
    assert "<h3>Advice <small>75 measurements in 3.2 s, of 9 units</small></h3>" in page
    assert page.count('class="step') == 3 + 2
    assert "<title>keep conv2 in float: 39.5 dB</title>" in page
    assert "39 dB asked for" in page
    assert "&#34;keep_float&#34;: [&#34;conv2&#34;]," in page


def test_a_page_without_advice_says_nothing_of_it() -> None:
    made = replace(document(ADVICE).reports[0], advice=None)
    assert "Advice" not in html.render(Document("1", None, (made,)), View(lambda _: None, "/"))
