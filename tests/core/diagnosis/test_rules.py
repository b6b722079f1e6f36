"""Rules: every code is explained, thresholds grade, comments suppress."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handlens.diagnosis import rules
from handlens.diagnosis.rules import RULES
from handlens.diagnosis.rules.rule import Rule
from handlens.diagnosis.selection import select
from handlens.diagnosis.suppressions import suppress, suppressions
from handlens.diagnosis.thresholds import ChosenThresholds
from handlens.report import Finding, Span, Thresholds

PAGES = Path(__file__).parents[3] / "docs" / "rules"


def finding(rule: str, line: int, end_line: int | None = None, file: str = "net.py") -> Finding:
    return Finding(rule, "warning", "message", None, Span(file, line, 4, end_line or line, 9))


def codes(findings: list[Finding]) -> list[str]:
    return [each.rule for each in findings]


# -- documentation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_the_page_of_a_rule_is_made_from_its_docstring(rule: Rule) -> None:
    page = PAGES / f"{rule.code}.md"
    assert page.read_text("utf-8") == rule.page, "run `python docs/rules.py`"
    assert rule.page.startswith(f"# {rule.code} {rule.name}\n\n")


def test_every_rule_is_registered_and_has_a_file_of_its_own() -> None:
    files = {path.stem for path in Path(rules.__path__[0]).glob("*.py")} - {"__init__", "rule"}
    assert {type(rule).__module__.rpartition(".")[2] for rule in RULES.values()} == files
    assert len(RULES) == len(files)


def test_there_is_no_page_for_a_rule_that_is_not_there() -> None:
    assert {page.stem for page in PAGES.glob("HL*.md")} == set(RULES)


def test_the_links_between_pages_lead_somewhere() -> None:
    for page in PAGES.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


# -- thresholds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sqnr_db", "severity"),
    [
        (-5.0, "error"),
        (9.99, "error"),
        (10.0, "warning"),
        (19.99, "warning"),
        (20.0, "information"),
        (29.99, "information"),
        (30.0, None),
    ],
)
def test_the_lower_the_sqnr_the_graver(sqnr_db: float, severity: str | None) -> None:
    assert Thresholds().severity(sqnr_db) == severity


def test_thresholds_can_be_set() -> None:
    assert Thresholds(40.0, 50.0, 60.0).severity(45.0) == "warning"


def test_what_is_chosen_takes_the_place_of_what_suits_the_recipe() -> None:
    base = Thresholds(10.0, 20.0, 30.0, 0.01)
    assert ChosenThresholds().over(base) == base
    assert ChosenThresholds(warning_db=15.0).over(base) == Thresholds(10.0, 15.0, 30.0, 0.01)
    assert ChosenThresholds(saturated_share=0.0).over(base) == Thresholds(10.0, 20.0, 30.0, 0.0)
    assert ChosenThresholds(1.0, 2.0, 3.0, 0.4).over(base) == Thresholds(1.0, 2.0, 3.0, 0.4)


levels = st.none() | st.floats(-50, 50)


@given(st.tuples(levels, levels, levels))
def test_what_is_not_chosen_gives_way(
    chosen: tuple[float | None, float | None, float | None],
) -> None:
    these = ChosenThresholds(*chosen)
    assume(these.in_order)
    found = these.over(Thresholds(10.0, 20.0, 30.0))
    assert found.error_db <= found.warning_db <= found.information_db
    for level, wanted in zip((found.error_db, found.warning_db, found.information_db), chosen):
        assert wanted is None or level == wanted


def test_thresholds_out_of_order_are_told() -> None:
    assert ChosenThresholds(1.0, None, 1.0).in_order
    assert not ChosenThresholds(2.0, None, 1.0).in_order


# -- selection -------------------------------------------------------------------------------------


def test_without_a_selection_everything_is_shown() -> None:
    assert codes(select([finding("HL101", 1), finding("HL202", 1)], (), ())) == ["HL101", "HL202"]


def test_the_beginning_of_a_code_selects_and_ignores_all_that_begin_so() -> None:
    findings = [finding(code, 1) for code in ("HL101", "HL104", "HL202")]
    assert codes(select(findings, ("HL1",), ())) == ["HL101", "HL104"]
    assert codes(select(findings, (), ("HL1",))) == ["HL202"]
    assert codes(select(findings, ("HL1",), ("HL104",))) == ["HL101"]


# -- suppressions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("# handlens: ignore", set()),
        ("#handlens:ignore", set()),
        ("# handlens: ignore[HL101]", {"HL101"}),
        ("# handlens: ignore[hl101, HL104]", {"HL101", "HL104"}),
        ("# why not  # handlens: ignore[HL101]", {"HL101"}),
        ("# handlens: ignore  # why not", set()),
    ],
)
def test_a_comment_says_what_it_suppresses(comment: str, expected: set[str]) -> None:
    text = f"x = f(x)  {comment}\n"
    (found,) = suppressions(text)
    assert found.codes == expected
    assert found.line == 1
    marked = text[found.column : found.end_column]
    assert marked.startswith("#")
    assert "ignore" in marked
    assert marked == marked.strip()


@pytest.mark.parametrize(
    "text",
    [
        "x = '# handlens: ignore'\n",
        '"""\n# handlens: ignore\n"""\n',
        "# handlens: ignored\n",
        "# handlens: ignore this line\n",
    ],
)
def test_what_is_no_such_comment_suppresses_nothing(text: str) -> None:
    assert suppressions(text) == []


def test_comments_are_found_up_to_where_a_text_stops_to_make_sense() -> None:
    (found,) = suppressions("x = 1  # handlens: ignore\ny = (\n")
    assert found.line == 1


def test_a_comment_suppresses_the_findings_of_its_line_and_its_codes() -> None:
    text = "a = f(a)  # handlens: ignore[HL101]\nb = f(b)\n"
    findings = [finding("HL101", 1), finding("HL104", 1), finding("HL101", 2)]
    assert suppress(findings, {"net.py": text}) == (findings[1:], 1)


def test_a_comment_on_any_line_of_an_expression_suppresses() -> None:
    text = "a = f(\n    a,\n)  # handlens: ignore\n"
    assert suppress([finding("HL101", 1, 3)], {"net.py": text}) == ([], 1)


def test_a_comment_counts_for_its_own_file() -> None:
    text = "a = f(a)  # handlens: ignore\n"
    other = finding("HL101", 1, file="other.py")
    kept, taken = suppress([other], {"net.py": text, "other.py": ""}, ["net.py", "other.py"])
    assert (codes(kept), taken) == (["HL101", "HL203"], 0)


def test_an_unused_comment_is_reported_where_it_stands() -> None:
    text = "a = f(a)\nb = f(b)  # handlens: ignore[HL104]\n"
    assert suppress([], {"net.py": text}) == ([], 0), "another target may use it"
    (unused,), _ = suppress([], {"net.py": text}, ["net.py"])
    assert (unused.rule, unused.severity) == ("HL203", "information")
    assert unused.span is not None
    assert unused.span.line == 2
    marked = text.splitlines()[1][unused.span.column : unused.span.end_column]
    assert marked == "# handlens: ignore[HL104]"


@pytest.mark.parametrize("code", [code for code in RULES if code.startswith("HL3")])
def test_a_failure_is_never_suppressed(code: str) -> None:
    text = "a = f(a)  # handlens: ignore\n"
    assert codes(suppress([finding(code, 1)], {"net.py": text})[0]) == [code]


def test_a_finding_about_the_whole_target_is_not_suppressed_by_a_line() -> None:
    whole = Finding("HL201", "warning", "nothing quantized", None, None)
    assert suppress([whole], {"net.py": "x = 1  # handlens: ignore\n"}) == ([whole], 0)
