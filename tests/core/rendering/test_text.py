"""What a terminal shows of a report: the place, the text, what was measured and what was not."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from handlens.rendering.text import print_report, render
from handlens.rendering.view import View, clean
from handlens.report import (
    NO_CAUSE,
    Cause,
    Coverage,
    Document,
    Failure,
    Finding,
    LogitsAgreement,
    Metric,
    OpReport,
    OutputAccuracy,
    QuantizedBy,
    Related,
    Report,
    Severity,
    Span,
    StaysInFloat,
    Unmatched,
    Verification,
    failed,
)
from tests.sample_ops import losing_op

FILE = "/work space/net.py"
TEXT = """\
class Net(nn.Module):
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        y = torch.cat(
            [x, x],
            dim=1,
        )
        return self.head(y)
"""
LOOP = Span(FILE, 4, 16, 4, 24, "Net.forward")
HEAD = Span(FILE, 9, 15, 9, 27, "Net.forward")


def op(
    handle: int, sqnr_db: float | None, span: Span | None = LOOP, module: str = "", **fields: Any
) -> OpReport:
    spans: dict[str, Any] = {"spans": (span,) if span else (), "shown": 0 if span else None}
    return losing_op(handle, sqnr_db, module=module, **(spans | fields))


def finding(
    span: Span | None = HEAD,
    message: str = "linear 12.3 dB · head",
    *related: Related,
    rule: str = "HL101",
    severity: Severity = "warning",
    handle: int | None = 9,
    cause: Cause = NO_CAUSE,
) -> Finding:
    return Finding(rule, severity, message, handle, span, related, cause)


def ok(*findings: Finding, ops: tuple[OpReport, ...] = ()) -> Report:
    return Report(
        *("handlens_main", FILE, "x86", "ok"),
        output=OutputAccuracy("ok", 19.53, 0.1, 0.2, 0.99),
        batches=2,
        coverage=Coverage(5, 4, 3, (Unmatched("aten.bn", "bn", "", "folded by the recipe"),)),
        ops=ops,
        findings=findings,
        timings={"load": 0.12, "compare": 1.5},
    )


def lines(
    report: Report,
    text: str | None = TEXT,
    *,
    verbose: bool = False,
    terminal_width: int | None = None,
) -> list[str]:
    console = None
    if terminal_width is not None:
        console = Console(width=terminal_width, force_terminal=True, color_system=None)
    view = View(lambda file: text if file == FILE else None, "/work space", verbose, console)
    return render(Document("0.1.0", None, (report,)), view).splitlines()


def row(rendered: list[str], label: str) -> str:
    (found,) = [line for line in rendered if line.startswith(f"  {label}  ")]
    return found.removeprefix(f"  {label}").strip()


# -- findings --------------------------------------------------------------------------------------


def test_a_finding_shows_its_place_its_text_and_the_span_underlined() -> None:
    assert lines(ok(finding()))[:5] == [
        "net.py:9:16: HL101 warning: linear 12.3 dB · head",
        "  |",
        "9 |         return self.head(y)",
        "  |                ^^^^^^^^^^^^",
        "",
    ]


def test_a_span_of_several_lines_is_marked_from_its_beginning_to_its_end() -> None:
    assert lines(ok(finding(Span(FILE, 5, 12, 8, 9))))[1:8] == [
        "  |",
        "5 |           y = torch.cat(",
        "  |  _____________^",
        "6 | |             [x, x],",
        "7 | |             dim=1,",
        "8 | |         )",
        "  | |_________^",
    ]


def test_a_span_that_begins_its_line_needs_no_line_to_its_beginning() -> None:
    assert lines(ok(finding(Span(FILE, 5, 8, 8, 9))))[2:7] == [
        "5 | /         y = torch.cat(",
        "6 | |             [x, x],",
        "7 | |             dim=1,",
        "8 | |         )",
        "  | |_________^",
    ]


def test_of_a_very_long_span_the_middle_is_left_out() -> None:
    text = "".join(f"line{number}\n" for number in range(1, 13))
    assert lines(ok(finding(Span(FILE, 1, 0, 12, 6))), text)[1:9] == [
        "   |",
        " 1 | / line1",
        " 2 | | line2",
        " 3 | | line3",
        "...  |",
        "11 | | line11",
        "12 | | line12",
        "   | |______^",
    ]


def test_findings_are_in_the_order_of_the_text_and_those_without_a_line_come_last() -> None:
    rendered = lines(ok(finding(None, "whole"), finding(HEAD, "head"), finding(LOOP, "loop")))
    places = [line.split(": ")[0] for line in rendered if " warning: " in line]
    assert places == ["net.py:4:17", "net.py:9:16", "net.py::handlens_main"]


def test_findings_of_one_expression_share_its_text() -> None:
    saturated = finding(HEAD, "linear clips 4.0%", rule="HL104")
    rendered = lines(ok(saturated, finding(severity="error")))
    assert rendered[:3] == [
        "net.py:9:16: HL101 error: linear 12.3 dB · head",
        "net.py:9:16: HL104 warning: linear clips 4.0%",
        "  |",
    ]
    assert sum("return self.head(y)" in line for line in rendered) == 1


@pytest.mark.parametrize(("text", "span"), [(None, HEAD), (TEXT, Span(FILE, 90, 0, 90, 4))])
def test_without_its_text_a_finding_is_its_message(text: str | None, span: Span) -> None:
    rendered = lines(ok(finding(span)), text)
    assert rendered[0].endswith("HL101 warning: linear 12.3 dB · head")
    assert rendered[1] == ""


def test_related_places_are_notes() -> None:
    origin = Related("conv2d 3.0 dB", LOOP)
    nowhere = Related("the recipe's own op", None)
    assert lines(ok(finding(HEAD, "x", origin, nowhere)))[4:6] == [
        "  = conv2d 3.0 dB (net.py:4:17)",
        "  = the recipe's own op",
    ]


def test_the_runs_of_a_loop_are_one_note_with_the_worst_first() -> None:
    ops = tuple(op(n, 20.0 - n, module=f"blocks.{n}") for n in range(7))
    related = [Related(f"conv2d · blocks.{n}", LOOP, n) for n in range(1, 7)]
    report = ok(finding(LOOP, "x", *related, handle=0), ops=ops)
    assert lines(report)[4] == (
        "  = 6 more here: blocks.6 14.0 dB, blocks.5 15.0 dB, blocks.4 16.0 dB, blocks.3 17.0 dB, …"
    )
    assert "blocks.1 19.0 dB" in lines(report, verbose=True)[4]


CAUSE = Cause("channel 17 reaches 25, the median channel 0.55", "clamp it, or keep the op in float")


def test_the_cause_and_what_helps_come_before_all_other_notes() -> None:
    clips = finding(HEAD, "linear clips 4.0%", rule="HL104", cause=CAUSE)
    because = finding(HEAD, "x", Related("conv2d 3.0 dB", LOOP), cause=CAUSE)
    assert lines(ok(because, clips))[5:9] == [
        "  = cause: channel 17 reaches 25, the median channel 0.55",
        "  = help: clamp it, or keep the op in float",
        "  = conv2d 3.0 dB (net.py:4:17)",
        "",
    ]


def test_a_cause_without_a_remedy_is_one_note() -> None:
    cause = Cause("it loses 6.2 dB more than rounding its output must")
    rendered = lines(ok(finding(cause=cause)))
    assert rendered[4:6] == ["  = cause: it loses 6.2 dB more than rounding its output must", ""]


def test_a_terminal_wraps_notes_below_where_they_begin() -> None:
    far = "/" + "far-away/" * 6 + "net.py"
    long = finding(HEAD, "x", Related("worst after it", Span(far, 1, 0, 1, 1)), cause=CAUSE)
    assert lines(ok(long), terminal_width=50)[4:9] == [
        "  = cause: channel 17 reaches 25, the median",
        "           channel 0.55",
        "  = help: clamp it, or keep the op in float",
        "  = worst after it",
        f"    ({far}:1:1)",
    ]


def test_a_number_stays_with_its_unit() -> None:
    for width in range(50, 80):
        rendered = lines(
            ok(finding(HEAD, "x", cause=Cause("it has 12.3 dB, " * 8))), terminal_width=width
        )
        assert not any(line.endswith("12.3") for line in rendered)


def test_a_floor_far_above_what_an_op_introduces_is_shown() -> None:
    for floor, shown in [(41.04, True), (15.0, True), (14.9, False), (None, False)]:
        lossy = op(9, 12.0, HEAD, floor_sqnr_db=floor)
        note = f"  = floor: rounding alone would leave it {floor or 0:.1f} dB"
        assert (note in lines(ok(finding(), ops=(lossy,)))) == shown
        inherits = finding(rule="HL102", severity="hint")
        assert note not in lines(ok(inherits, ops=(lossy,)), verbose=True)


def test_a_batch_that_is_far_worse_than_all_together_is_named() -> None:
    for worst, shown in [(4.0, True), (9.0, True), (9.1, False), (None, False)]:
        uneven = op(9, 12.0, HEAD, worst_batch=3, worst_batch_sqnr_db=worst)
        note = f"  = worst batch: number 3, counted from 0, has {worst or 0:.1f} dB"
        assert (note in lines(ok(finding(), ops=(uneven,)))) == shown


# -- hints -----------------------------------------------------------------------------------------


def hint(origin: int | None, *instances: Related) -> Finding:
    first = () if origin is None else (Related("origin: conv2d", LOOP, origin),)
    return finding(
        HEAD, "relu 9.0 dB", *first, *instances, rule="HL102", severity="hint", handle=30
    )


def test_what_inherits_is_counted_under_its_origin() -> None:
    again = Related("relu 9.5 dB", HEAD, 31)
    rendered = lines(ok(finding(LOOP, handle=7), hint(7), hint(7, again)))
    assert rendered[4] == "  = 3 ops downstream inherit this loss (HL102)"
    assert not any("HL102 hint" in line for line in rendered)
    assert row(rendered, "found") == "1 warning, 2 hints"


def test_what_inherits_from_any_run_of_a_loop_is_counted_there() -> None:
    loop = finding(LOOP, "x", Related("conv2d 9.0 dB", LOOP, 8), handle=7)
    assert lines(ok(loop, hint(8)))[5] == "  = 1 op downstream inherits this loss (HL102)"


def test_what_inherits_from_no_finding_is_in_the_summary() -> None:
    rendered = lines(ok(hint(7), hint(None), ops=(op(7, 35.0),)))
    assert row(rendered, "inherited") == (
        "1 op downstream inherits the loss of conv2d (net.py:4:17) (HL102)"
    )
    assert any("1 op with the sum of small losses upstream (HL102)" in line for line in rendered)


def test_verbose_shows_every_hint() -> None:
    rendered = lines(ok(finding(LOOP, handle=7), hint(7)), verbose=True)
    assert "net.py:9:16: HL102 hint: relu 9.0 dB" in rendered
    assert not any("downstream" in line for line in rendered)


# -- summary ---------------------------------------------------------------------------------------


def test_the_summary_says_what_was_measured_and_what_was_not() -> None:
    rendered = lines(ok(finding(), finding(severity="error"), finding(severity="information")))
    assert rendered[-8:] == [
        "net.py::handlens_main · recipe x86",
        "  output        19.5 dB, 2 batches",
        "  compared      4 of 5 ops",
        "  quantized     3 ops",
        "  not compared  1 folded by the recipe",
        "  found         1 error, 1 warning, 1 information",
        "  time          1.6 s (load 0.1, compare 1.5)",
        "",
    ]


def test_the_summary_says_how_logits_agree_and_what_the_metric_gives() -> None:
    output = OutputAccuracy(
        *("ok", 9.21, 0.1, 0.2, 0.99, ""),
        LogitsAgreement(0.972, 0.031, 64),
        Metric("accu\x1bracy", 0.982, 0.914),
    )
    assert row(lines(replace(ok(), output=output)), "output") == (
        "9.2 dB, 2 batches · top-1 agrees in 97.2 % of 64 rows · KL 0.031 nats"
        " · accu\\x1bracy 0.982 → 0.914"
    )
    short = replace(ok(), output=output, fail_under=20.0)
    assert "2 batches (not the 20 dB asked for) · top-1" in row(lines(short), "output")


def test_nothing_found_says_how_near_it_was() -> None:
    rendered = lines(ok(ops=(op(1, 41.0), op(2, 33.04), op(3, None))))
    assert row(rendered, "found") == "nothing; the lowest is conv2d 33.0 dB (net.py:4:17)"


def test_findings_that_were_asked_away_are_counted() -> None:
    assert (
        row(lines(replace(ok(), unselected=3)), "found") == "nothing; 3 not shown (select, ignore)"
    )


def test_reasons_are_counted_the_most_frequent_first() -> None:
    reasons = ["no tensor output", "folded", "folded"]
    unmatched = tuple(Unmatched("op", "node", "", reason) for reason in reasons)
    rendered = lines(replace(ok(), coverage=Coverage(9, 6, 6, unmatched)))
    start = rendered.index("  not compared  2 folded")
    assert rendered[start + 1] == "                1 no tensor output"


@pytest.mark.parametrize(
    ("verdict", "sqnr_db", "mse", "fail_under", "expected"),
    [
        ("ok", 19.53, 0.1, None, "19.5 dB, 2 batches"),
        ("ok", 19.53, 0.1, 19.0, "19.5 dB, 2 batches"),
        ("ok", 19.53, 0.1, 25.0, "19.5 dB, 2 batches (not the 25 dB asked for)"),
        ("exact", None, 0.0, 25.0, "exactly the reference, 2 batches"),
        (
            "non-finite",
            None,
            None,
            25.0,
            "NaN or Inf where the reference is finite, 2 batches (not the 25 dB asked for)",
        ),
        (
            "no-signal",
            None,
            0.5,
            None,
            "all zero in the reference, and not in the quantized model, 2 batches",
        ),
        (
            "no-signal",
            None,
            0.0,
            10.0,
            "all zero in the reference, and in the quantized model, 2 batches"
            " (not the 10 dB asked for)",
        ),
        (
            "not-compared",
            None,
            None,
            10.0,
            "not compared: it is text, 2 batches (not the 10 dB asked for)",
        ),
    ],
)
def test_the_output_is_put_into_words(
    verdict: str,
    sqnr_db: float | None,
    mse: float | None,
    fail_under: float | None,
    expected: str,
) -> None:
    reason = "it is text" if verdict == "not-compared" else ""
    output = OutputAccuracy(verdict, sqnr_db, mse, None, None, reason)  # type: ignore[arg-type]
    rendered = lines(replace(ok(), output=output, fail_under=fail_under))
    assert row(rendered, "output") == expected


@pytest.mark.parametrize(
    ("verification", "expected"),
    [
        (Verification("exact"), "reference = model, to the bit"),
        (Verification("ok", 131.4), "reference = model (131 dB)"),
        (Verification("differs", -0.2), "the reference is not the model (0 dB): see HL204"),
        (
            Verification("not-checked", reason="the model itself raised"),
            "not against the model: the model itself raised",
        ),
    ],
)
def test_it_says_what_was_verified(verification: Verification, expected: str) -> None:
    rendered = lines(replace(ok(), verified=verification))
    assert row(rendered, "verified") == expected
    rendered = lines(replace(ok(), verified=replace(verification, comparison="plain")))
    assert rendered[rendered.index(f"  verified      {expected}") + 1].startswith(
        "                compared op by op without shortcuts"
    )


def test_it_says_who_quantized_and_what_stayed_in_float() -> None:
    by = QuantizedBy("X86InductorQuantizer", "torchao", "0.18.0")
    left = tuple(
        StaysInFloat(op, "n", "m", "why") for op in ("aten.linear.default", "a.lstm.x", "a.lstm.x")
    )
    rendered = lines(
        replace(ok(), quantized_by=(by,), coverage=Coverage(9, 9, 6, (), (), left)),
    )
    assert row(rendered, "quantized") == "6 ops by X86InductorQuantizer (torchao 0.18.0)"
    assert "  left in float 2 lstm, 1 linear (HL205)" in rendered


def test_several_reports_have_a_total() -> None:
    broken = failed("main", FILE, "", Failure("HL301", "no", None, ""))
    document = Document("0.1.0", None, (ok(finding()), ok(), broken))
    shown = render(document, View(lambda _: TEXT, "/"))
    assert shown.endswith("\n3 targets: 1 could not run, 1 error, 1 warning\n")


# -- failures --------------------------------------------------------------------------------------


def test_a_failure_shows_the_line_and_offers_the_traceback() -> None:
    broken = failed("main", FILE, "x86", Failure("HL302", "Export failed: no", HEAD, "Trace\n  x"))
    assert lines(broken) == [
        "net.py:9:16: HL302 error: Export failed: no",
        "  |",
        "9 |         return self.head(y)",
        "  |                ^^^^^^^^^^^^",
        "",
        "net.py::main · recipe x86",
        "  could not run HL302 export-failed; --verbose shows the traceback",
        "",
    ]
    verbose = lines(broken, verbose=True)
    assert verbose[5:7] == ["  Trace", "    x"]
    assert not any("--verbose" in line for line in verbose)


def test_what_a_dead_worker_printed_last_is_shown_unasked() -> None:
    broken = failed("main", FILE, "", Failure("HL304", "killed by SIGSEGV", None, "last words"))
    assert "  last words" in lines(broken)


# -- alignment, width and safety -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "marked"),
    [
        ("\tx = f(x)", "f(x)"),
        ("x\t=\tf(x)", "f(x)"),
        ("x = f(\tx)", "f(\tx)"),
        ("名前 = f(名前)", "f(名前)"),
        ("x = '👍🏽' + f('👩‍👩‍👧')", "f('👩‍👩‍👧')"),
        ("e\u0301 = f(e\u0301)", "f(e\u0301)"),
        ("x = '\x1b[31m' + f('\x07')", "f('\x07')"),
        ("x = f(x)\r", "f(x)"),
    ],
)
def test_the_marks_stand_below_what_they_mark(line: str, marked: str) -> None:
    start = line.index(marked)
    span = Span(FILE, 1, start, 1, start + len(marked))
    _, _, shown, marks, *_ = lines(ok(finding(span)), line + "\n")
    expected = clean(marked.replace("\t", ""))
    column = len(marks) - len(marks.lstrip(" |"))
    before = next(index for index in range(len(shown) + 1) if cell_len(shown[:index]) == column)
    assert shown[before:].replace(" ", "").startswith(expected.replace(" ", "")[:2])
    assert cell_len(shown[before:]) == marks.count("^") == cell_len(marks) - column


@pytest.mark.parametrize(
    ("line", "shown"), [("\tx", "    x"), ("ab\tx", "ab  x"), ("abcd\tx", "abcd    x")]
)
def test_a_tab_reaches_to_the_next_multiple_of_four(line: str, shown: str) -> None:
    start = line.index("x")
    assert lines(ok(finding(Span(FILE, 1, start, 1, start + 1))), line)[2] == f"1 | {shown}"


def test_an_empty_span_has_one_mark() -> None:
    assert lines(ok(finding(Span(FILE, 9, 15, 9, 15))))[3].count("^") == 1


def test_of_a_very_long_line_the_part_with_the_span_is_shown() -> None:
    line = f"x = [{'1, ' * 300}f(x){', 2' * 300}]"
    start = line.index("f(x)")
    _, _, shown, marks, *_ = lines(ok(finding(Span(FILE, 1, start, 1, start + 4))), line)
    assert len(shown) < 160
    assert shown[marks.index("^") :].startswith("f(x), 2")
    assert marks.count("^") == 4
    assert shown.endswith("…")


def test_nothing_wraps_where_there_is_no_terminal() -> None:
    message = "word " * 60 + "end"
    assert lines(ok(finding(HEAD, message)))[0].endswith("end")


@pytest.mark.slow
@given(st.text())
@settings(deadline=None)
def test_no_text_can_act_upon_the_terminal(text: str) -> None:
    hostile = text + "\x1b[2J\u202e\x9b[bold]\ud800"
    report = replace(
        ok(
            finding(HEAD, f"m {hostile}", Related(hostile, None), cause=Cause(hostile, hostile)),
            ops=(op(1, 3.0, module=hostile),),
        ),
        target=hostile,
        recipe=hostile,
        coverage=Coverage(1, 0, 0, (Unmatched("op", "node", "", hostile),)),
        error=None,
    )
    shown = "\n".join(lines(report, hostile.join(TEXT.splitlines(keepends=True))))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    shown.encode("utf-8")
    assert r"\x1b[2J\u202e\x9b[bold]" in shown


def _coloured() -> str:
    console = Console(force_terminal=True, color_system="standard")
    document = Document("0.1.0", None, (ok(finding(severity="error")),))
    return render(document, View(lambda _: TEXT, "/", console=console))


def test_a_terminal_gets_colours_and_is_told_where_the_rule_is_explained() -> None:
    shown = _coloured()
    assert "\x1b[1;31m" in shown
    assert "`handlens rule HL101` explains HL101." in shown


def test_a_file_is_not_told_where_a_rule_is_explained() -> None:
    assert "handlens rule" not in "\n".join(lines(ok(finding())))


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search("\x1b\\[[0-9;]*3[0-7]m", _coloured())


def test_a_picture_can_be_made_of_it() -> None:
    console = Console(file=io.StringIO(), record=True, width=100, force_terminal=True)
    print_report(ok(finding()), console, View(lambda _: TEXT, "/work space"))
    svg = console.export_svg(title="handlens")
    assert "self.head(y)" in "".join(ET.fromstring(svg).itertext()).replace("\xa0", " ")
