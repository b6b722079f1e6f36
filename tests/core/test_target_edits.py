"""Edits of targets: they add what they say, and change nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens.advice_report import Change
from handlens.target_edits import Additions, NoEdit, add, declaring_file, respell
from handlens.targets import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FUNCTION = Target("handlens_x", "function", "/model.py")
CONFIGURED = Target("x", "configured", "/m.py")


def kept(*entries: str | int) -> Additions:
    return Additions(keep_float=entries)


@pytest.mark.parametrize(
    ("returned", "changed"),
    [
        ("m, (1,)", '{"model": m, "example_inputs": (1,), "keep_float": ["a.0"]}'),
        (
            "(\n        m,\n        [1],\n    )",
            '{"model": m, "example_inputs": [1], "keep_float": ["a.0"]}',
        ),
        ('{"model": "é𝔘",}', '{"model": "é𝔘", "keep_float": ["a.0"],}'),
        ('{"model": (m)}', '{"model": (m), "keep_float": ["a.0"]}'),
        ('{"model": m, "keep_float": []}', '{"model": m, "keep_float": ["a.0"]}'),
        ('{"model": m, "keep_float": ()}', '{"model": m, "keep_float": ["a.0"]}'),
        ('{"model": m, "keep_float": ["b"]}', '{"model": m, "keep_float": ["b", "a.0"]}'),
        ('{"model": m, "keep_float": [*names]}', '{"model": m, "keep_float": [*names, "a.0"]}'),
        ('{"model": m, "keep_float": {"b"}}', '{"model": m, "keep_float": {"b", "a.0"}}'),
        ('{"keep_float": ("b",), "model": m}', '{"keep_float": ("b", "a.0",), "model": m}'),
        (
            '{\n        "model": m,  # mine\n    }',
            '{\n        "model": m,  # mine\n        "keep_float": ["a.0"],\n    }',
        ),
        (
            '{\n        "model": (m\n        )\n    }',
            '{\n        "model": (m\n        ),\n        "keep_float": ["a.0"]\n    }',
        ),
        (
            '{"keep_float": [\n        "b",\n        "c",  # é\n    ], "model": m}',
            '{"keep_float": [\n        "b",\n        "c",  # é\n        "a.0",\n    ], "model": m}',
        ),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_target_keeps_a_module_in_float(returned: str, changed: str, line_end: str) -> None:
    text = f"\ufeff# é\ndef handlens_x():\n    return {returned}  # mine\n"
    expected = text.replace(returned, changed).replace("\n", line_end)
    assert (
        add(text.replace("\n", line_end), FUNCTION, kept("a.0")).apply(text.replace("\n", line_end))
        == expected
    )


def test_a_pair_that_gets_too_long_for_a_line_has_a_line_for_each_key() -> None:
    text = "def handlens_x():\n    return Model(), (torch.randn(1, 3, 32, 32),)\n"
    assert add(text, FUNCTION, kept("features.0", "features.12:relu6[1]")).apply(text) == (
        "def handlens_x():\n"
        "    return {\n"
        '        "model": Model(),\n'
        '        "example_inputs": (torch.randn(1, 3, 32, 32),),\n'
        '        "keep_float": ["features.0", "features.12:relu6[1]"],\n'
        "    }\n"
    )


def test_changes_go_where_their_kinds_belong() -> None:
    additions = Additions.of(
        [
            Change("keep-float", ("conv1", 3), (1, 3), "conv1 with relu"),
            Change("activation-16-bit", ("conv2",), (4,), "conv2"),
            Change("keep-float", (":cat",), (5,), "cat"),
        ]
    )
    assert additions == Additions(("conv1", 3, ":cat"), {"conv2": ("activation-16-bit",)})
    text = 'def handlens_x():\n    return {"model": m, "keep_float": ["conv1"]}\n'
    assert add(text, FUNCTION, additions).apply(text) == (
        'def handlens_x():\n    return {"model": m, "keep_float": ["conv1", 3, ":cat"], '
        '"adjust": {"conv2": "activation-16-bit"}}\n'
    )


def test_an_adjustment_joins_those_that_are_there() -> None:
    text = 'def handlens_x():\n    return {"model": m, "adjust": {"a": "weight-8-bit"}}\n'
    one, other = ("weight-8-bit",), ("activation-16-bit",)
    assert add(text, FUNCTION, Additions(adjust={"a": one, "b": other})).apply(text) == (
        text.replace('"weight-8-bit"', '"weight-8-bit", "b": "activation-16-bit"')
    )
    text = add(text, FUNCTION, Additions(adjust={"a": other})).apply(text)
    assert '"adjust": {"a": ["weight-8-bit", "activation-16-bit"]}' in text
    with pytest.raises(NoEdit, match="handlens_x has a already"):
        add(text, FUNCTION, Additions(adjust={"a": one}))
    text = text.replace('["weight-8-bit",', '["weight-8-bit",  # for now\n       ')
    with pytest.raises(NoEdit, match="has a comment in it"):
        add(text, FUNCTION, Additions(adjust={"a": ("observer-min-max",)}))


@pytest.mark.parametrize(
    "returned",
    [
        "pair",
        "m, (1,)  # ok\n    if m:\n        return m, ()",
        "(m,  # the model\n        ())",
        "{**base}",
        '{"model": m, "keep_float": names}',
        '{"model": m, "keep_float": ("b")}',
        '{"model": m, "keep_float": ["a.0"]}',
        '{"model": m, "keep_float": ["b"], "keep_float": names}',
        '{"model": (m  # mine\n    )}',
    ],
)
def test_what_cannot_be_edited_safely_is_left_alone(returned: str) -> None:
    text = f"def handlens_x():\n    return {returned}\n"
    with pytest.raises(NoEdit):
        add(text, FUNCTION, kept("a.0"))


@pytest.mark.parametrize(
    "before",
    [
        "    def helper():\n        return m\n    return ",
        "    class Helper:\n        def get(self):\n            return m\n    return ",
        "    with torch.no_grad():\n        return ",
        "    async def helper():\n        return m\n    if m:\n        return ",
    ],
)
def test_returns_of_helpers_inside_do_not_count(before: str) -> None:
    text = f'def handlens_x():\n{before}{{"model": m}}\n'
    changed = text.replace('"model": m', '"model": m, "keep_float": ["a.0"]')
    assert add(text, FUNCTION, kept("a.0")).apply(text) == changed


@pytest.mark.parametrize(
    ("body", "says"),
    [("if m:\n        return 1\n    return 2", "more than one place"), ("pass", "returns nothing")],
)
def test_a_function_that_returns_once_is_asked_for(body: str, says: str) -> None:
    with pytest.raises(NoEdit, match=says):
        add(f"def handlens_x():\n    {body}\n", FUNCTION, kept("a.0"))


def test_a_class_keeps_nothing_in_float() -> None:
    with pytest.raises(NoEdit, match="declare a handlens_ function"):
        add("class Net: ...\n", Target("Net", "class", "/model.py"), kept("a.0"))


names = st.text(st.sampled_from("ab.:[0]é\"\\'\n"), min_size=1, max_size=6) | st.integers(0, 9)
kinds = st.lists(st.sampled_from(["a", "b"]), min_size=1, unique=True).map(tuple)
additions = st.builds(
    Additions,
    st.lists(names, max_size=3, unique=True).map(tuple),
    st.dictionaries(names, kinds, max_size=3),
).filter(lambda each: each.by_key)


@pytest.mark.slow
@given(additions, additions, st.sampled_from(["m, ()", "{'model': m, 'example_inputs': ()}"]))
def test_a_function_returns_what_it_did_and_what_was_added(
    first: Additions, second: Additions, returned: str
) -> None:
    text = f"def handlens_x():\n    m = 1\n    return {returned}\n"
    expected: dict[str, Any] = {"model": 1, "example_inputs": ()}
    for each in (first, second):
        text, expected = added(text, FUNCTION, each, expected)
        defined: dict[str, Any] = {}
        exec(text, defined)
        assert defined["handlens_x"]() == expected


@pytest.mark.slow
@given(
    additions,
    additions,
    st.sampled_from(["", "[other]\nkey = 1\n", "[tool.handlens]\nrecipe = 'x86'\n"]),
)
def test_a_table_has_what_it_had_and_what_was_added(
    first: Additions, second: Additions, after: str
) -> None:
    text = f'# first\n[tool.handlens.targets.x]\nmodel = "m:M" # é\n\n{after}'
    content = tomllib.loads(text)
    expected = content["tool"]["handlens"]["targets"]["x"]
    for each in (first, second):
        if any(isinstance(entry, int) for entry in (*each.keep_float, *each.adjust)):
            with pytest.raises(NoEdit, match="debug handle"):
                add(text, CONFIGURED, each)
            continue
        text, expected = added(text, CONFIGURED, each, expected)
        content["tool"]["handlens"]["targets"]["x"] = expected
        assert tomllib.loads(text) == content
        assert text.startswith('# first\n[tool.handlens.targets.x]\nmodel = "m:M" # é\n')


def added(
    text: str, target: Target, additions: Additions, given: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The text and the keys of a target after additions, or as they were if these are refused rightly."""
    listed = [*given.get("keep_float", [])]
    listed += [each for each in additions.keep_float if each not in listed]
    adjusted = {**given.get("adjust", {})}
    for entry, kinds in additions.adjust.items():
        there = adjusted.get(entry, [])
        there = [there] if isinstance(there, str) else there
        all_kinds = [*there, *(each for each in kinds if each not in there)]
        adjusted[entry] = all_kinds[0] if len(all_kinds) == 1 else all_kinds
    changed = given
    if additions.keep_float:
        changed = changed | {"keep_float": listed}
    if additions.adjust:
        changed = changed | {"adjust": adjusted}
    if changed == given:
        with pytest.raises(NoEdit, match="already"):
            add(text, target, additions)
        return text, given
    return add(text, target, additions).apply(text), changed


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ('model = "m:M" # é\n', 'model = "m:M" # é\nkeep_float = ["a.0", "c"]\n'),
        ('model = "m:M"\nkeep_float = ["b"]\n', 'model = "m:M"\nkeep_float = ["b", "a.0", "c"]\n'),
    ],
)
def test_a_project_keeps_a_module_in_float(table: str, changed: str) -> None:
    text = f"# first\n[tool.handlens.targets.x]\n{table}\n[other]\nkey = 1\n"
    assert add(text, CONFIGURED, kept("a.0", "c")).apply(text) == text.replace(table, changed)


def test_a_project_adjusts_a_module() -> None:
    text = "[tool.handlens.targets.x]\nmodel = 'm:M'\n"
    changed = add(text, CONFIGURED, Additions(adjust={"a.0": ("activation-16-bit",)})).apply(text)
    assert changed == text + 'adjust = {"a.0" = "activation-16-bit"}\n'


def test_a_project_without_the_target_is_left_alone() -> None:
    for text in ("", "[tool.handlens\n", "[tool]\nhandlens = 1\n"):
        with pytest.raises(NoEdit, match=r"pyproject\.toml"):
            add(text, CONFIGURED, kept("a.0"))


def test_a_configured_target_is_declared_in_its_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    file = str(tmp_path / "m.py")
    assert declaring_file(Target("x", "configured", file)) == str(tmp_path / "pyproject.toml")
    assert declaring_file(Target("handlens_x", "function", file)) == file


# -- misspelled names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "changed"),
    [
        ('{"modle": m}', '{"model": m}'),
        ("{'modle': m, 'é': 1}", "{'model': m, 'é': 1}"),
        ('{"é": 1, r"modle": m}', '{"é": 1, "model": m}'),
        ("dict(é=1, modle = m)", "dict(é=1, model = m)"),
        (
            "dict(\n        a=1,\n        modle=m,\n    )",
            "dict(\n        a=1,\n        model=m,\n    )",
        ),
        ('{"keep_float": ["""modle"""]}', '{"keep_float": ["""model"""]}'),
    ],
)
def test_a_misspelled_name_is_changed_where_it_stands(returned: str, changed: str) -> None:
    text = "modle = 'modle'\n\ndef handlens_x():\n    return {}\n".format
    edit = respell(text(returned), FUNCTION, "modle", "model")
    assert edit.apply(text(returned)) == text(changed)


@pytest.mark.parametrize("returned", ["('modle', 'modle')", "modle", "'the modle'", "{}"])
def test_a_name_that_stands_in_no_one_place_is_left_alone(returned: str) -> None:
    text = f"def handlens_x():\n    return {returned}\n"
    with pytest.raises(NoEdit, match="'modle'"):
        respell(text, FUNCTION, "modle", "model")
