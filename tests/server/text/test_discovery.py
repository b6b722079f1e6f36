"""What there is to run in a text, and when a text that cannot be read is worth a diagnostic."""

import pytest

from handlens_server.text.discovery import discover


def test_targets_are_found():
    found = discover("def handlens_main(): ...\n", "m.py")
    assert [target.name for target in found.targets] == ["handlens_main"]
    assert found.failure is None


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("def handlens_a(:\n", (1, 15, 1, 16)),
        ("x = (\ndef handlens_a(): pass\n", (1, 4, 1, 5)),
        ("def handlens_a():\n    é = 1 $ 2\n", (2, 10, 2, 11)),
        ("def handlens_a():\nx\n", (2, 0, 2, 1)),
        ("def handlens_a():\n    '''abc\n", (2, 4, 2, 5)),
    ],
)
def test_a_text_that_does_not_parse_fails_where_python_says(text, where):
    failure = discover(text, "/a/m.py").failure
    assert failure.rule == "HL301"
    assert failure.message.startswith("m.py does not parse: ")
    assert (*failure.span.start, *failure.span.end) == where


@pytest.mark.parametrize("text", ["x = (\n", "class A(:\n", "\0", "("])
def test_a_text_that_does_not_parse_and_seems_to_have_no_target_is_let_be(text):
    assert not discover(text, "/a/m.py").found


@pytest.mark.parametrize(
    "text",
    ["def handlens_a(): pass\0", "def handlens_a(): " + "(" * 5000, "def handlens_a(): '\ud800'"],
)
def test_whatever_the_parser_raises_is_a_failure(text):
    found = discover(text, "/a/m.py")
    assert found.targets or found.failure.rule == "HL301"


def test_a_target_configured_in_the_project_counts(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.handlens.targets.a]\nmodel = "m:build"\n')
    assert discover("x = (\n", str(tmp_path / "m.py")).failure.rule == "HL301"
    assert not discover("x = (\n", str(tmp_path / "n.py")).found


def test_a_wrong_project_is_a_failure_without_a_place(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.handlens.targets.a]\nmodel = 3\n")
    failure = discover("x = 1\n", str(tmp_path / "m.py")).failure
    assert failure.rule == "HL305"
    assert failure.span is None
