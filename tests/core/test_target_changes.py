"""Texts that differ in the options of a target alone, and reports that move from one to the other."""

from __future__ import annotations

from typing import Any

import pytest

from handlens.report import Failure, Report, Span, failed
from handlens.target_changes import TargetEdit

MODEL = """\
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return x.sin()
"""
TARGET = """
def handlens_main():
    model = Model()
    return {returned}
"""
PAIR = "model, (torch.ones(3),)"
MAPPING = '{"model": model, "example_inputs": (torch.ones(3),)}'


def text(returned: str, before: str = MODEL) -> str:
    return before + TARGET.format(returned=returned)


def with_items(items: str) -> str:
    return text(f"{MAPPING[:-1]}, {items}}}")


def changed(before: str, after: str) -> dict[str, Any] | None:
    edit = TargetEdit.between(before, after, "handlens_main")
    return None if edit is None else edit.options


@pytest.mark.parametrize(
    ("before", "after", "options"),
    [
        (text(PAIR), with_items('"keep_float": ["a"]'), {"keep_float": ["a"]}),
        (text(MAPPING), with_items('"recipe": "bf16"'), {"recipe": "bf16"}),
        (with_items('"recipe": "bf16"'), text(PAIR), {"recipe": None}),
        (
            with_items('"recipe": "x86", "keep_float": ["a"]'),
            with_items('"keep_float": {"a", 3}, "adjust": {"b": ("per-channel",)}'),
            {"recipe": None, "keep_float": {"a", 3}, "adjust": {"b": ("per-channel",)}},
        ),
        (
            text("dict(model=model, example_inputs=(torch.ones(3),))"),
            text("dict(model=model, example_inputs=(torch.ones(3),), keep_float=('a',))"),
            {"keep_float": ("a",)},
        ),
        (text(MAPPING), "# A comment.\n\n" + with_items('"recipe":\n\n"x86"'), {"recipe": "x86"}),
    ],
)
def test_options_that_are_written_out(before: str, after: str, options: dict[str, Any]) -> None:
    assert changed(before, after) == options


@pytest.mark.parametrize(
    "after",
    [
        text(PAIR.replace("3", "4")),
        text(PAIR.replace("model,", "model.half(),")),
        text(PAIR, MODEL.replace("sin", "cos")),
        with_items('"keep_float": [name for name in "ab"]'),
        with_items('"recipe": make_quantizer'),
        with_items('**{"recipe": "bf16"}'),
        with_items('"recipe": "bf16"').replace("def handlens_main", "def handlens_other"),
        with_items('"recipe": "bf16"').replace(
            "    return", "    if model:\n        return 1\n    return"
        ),
        with_items('"recipe": '),
        "",
    ],
)
def test_a_text_that_differs_in_more(after: str) -> None:
    assert changed(text(PAIR), after) is None
    assert changed(after, text(PAIR)) is None


def test_an_option_that_is_no_literal_and_stays_may_stand_beside_one_that_changes() -> None:
    before = with_items('"recipe": make(), "keep_float": ["a"]')
    after = with_items('"recipe": make(), "keep_float": ["b"]')
    assert changed(before, after) == {"keep_float": ["b"]}
    assert changed(before, after.replace("make()", "other()")) is None


ASSIGNED = """
def handlens_main():
    model = Model()
    count = {count}
    batches = [(torch.ones(count),) for _ in range(3)]
    return {{"model": model, "example_inputs": batches[0], "calibration": {calibration}}}
"""


def assigned(count: int = 3, calibration: str = "batches") -> str:
    return MODEL + ASSIGNED.format(count=count, calibration=calibration)


@pytest.mark.parametrize(
    ("after", "options"),
    [
        (assigned(4), {}),
        (assigned(calibration="batches[1:]"), {}),
        (assigned(calibration='batches, "evaluation": batches[:1]'), {}),
        (assigned(4, 'batches, "recipe": "bf16"'), {"recipe": "bf16"}),
        (assigned().replace("= Model()", "= make()"), {}),
    ],
)
def test_data_that_changed(after: str, options: dict[str, Any]) -> None:
    for one, other in ((assigned(), after), (after, assigned())):
        edit = TargetEdit.between(one, other, "handlens_main")
        assert edit is not None
        assert edit.data
        assert edit.options.keys() == options.keys()
    assert changed(after, "# A comment.\n" + after) == {}


@pytest.mark.parametrize(
    "after",
    [
        assigned().replace("    count = 3", "    model.count = 3"),
        assigned().replace("    count = 3", "    count = 3\n    other = 4"),
        assigned().replace("    count = 3\n", ""),
        assigned().replace("    count = 3", "    count += 3"),
        assigned().replace("batches[0]", "batches[1]"),
        assigned().replace("x.sin()", "x.cos()"),
    ],
)
def test_other_statements_of_a_target_that_changed(after: str) -> None:
    assert changed(assigned(), after) is None


def test_a_target_with_global_variables_assigns_to_none_of_its_own() -> None:
    before = assigned().replace("    model =", "    global count\n    model =")
    assert changed(before, before.replace("count = 3", "count = 4")) is None


def test_an_option_that_stays_is_not_told() -> None:
    before = with_items('"recipe": "bf16", "keep_float": ["a"]')
    assert changed(before, "# A comment.\n" + before) == {}
    assert changed(before, before.replace('["a"]', "[]")) == {"keep_float": []}


def test_a_tree_is_left_as_it_was() -> None:
    before, after = text(PAIR), with_items('"recipe": "bf16"')
    assert changed(before, after) == changed(before, after)
    assert changed(after, before) == {"recipe": None}


def report(line: int, file: str = "model.py") -> Report:
    span = Span(file, line, 4, line, 9)
    return failed("main", "model.py", "x86", Failure("HL001", "no", span, ""))


def line_after(line: int, before: str, after: str, file: str = "model.py") -> int | None:
    """Where a line of a text is after an edit."""
    edit = TargetEdit.between(before, after, "handlens_main")
    assert edit is not None
    found = edit.moved(report(line, file), "model.py")
    if found is None:
        return None
    assert found.error is not None
    assert found.error.span is not None
    return found.error.span.line


BELOW = "\nclass Other(Model):\n    def forward(self, x):\n        return x.sin()\n"
EDITED = [
    with_items('"recipe": "bf16"') + BELOW,
    with_items('\n"recipe":\n "bf16"\n') + BELOW,
    "# A comment.\n\n"
    + with_items('\n"keep_float": ["a"]').replace("    model", "\n    model")
    + BELOW,
    "# x.sin()\n" + with_items('\n"keep_float": [\n"a"\n]') + "\n\n# sin\n\n" + BELOW,
]


@pytest.mark.parametrize("after", EDITED)
def test_spans_stay_with_their_text(after: str) -> None:
    before = text(MAPPING) + BELOW
    old, new = before.splitlines(), after.splitlines()
    for line, content in enumerate(old, 1):
        found = line_after(line, before, after)
        if "sin" in content or "class" in content or "def" in content:
            assert found is not None
            assert new[found - 1] == content
            others = [each for each, it in enumerate(old, 1) if it == content]
            after_all = [each for each, it in enumerate(new, 1) if it == content]
            assert others.index(line) == after_all.index(found)
        elif found is not None:
            assert new[found - 1] == content


def test_a_span_whose_text_changed_has_no_place() -> None:
    before, after = text(MAPPING), with_items('"recipe": "bf16"')
    assert line_after(len(before.splitlines()), before, after) is None
    indented = after.replace("        return x.sin()", "            return x.sin()")
    assert line_after(5, before, indented) is None


def test_spans_of_other_files_stay() -> None:
    assert line_after(99, text(PAIR), EDITED[2].replace(BELOW, ""), "other.py") == 99
