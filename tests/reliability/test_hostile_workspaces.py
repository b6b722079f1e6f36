"""What a workspace calls its files, modules and targets is text. What it has in the way ends nothing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens import protocol
from handlens.project import project_settings
from handlens.protocol import RunRequest
from handlens.report import Report, from_json
from handlens.rules import suppressions
from handlens.targets import InvalidConfiguration
from handlens_server.discovery import discover
from handlens_server.wording import inert
from tests.reliability.fuzzing import bounded
from tests.reliability.wire import Wire

# As it is installed: `python -m` would look for modules in the working directory first.
HANDLENS = str(Path(sys.executable).with_name("handlens"))


def handlens(*arguments, cwd):
    return subprocess.run(
        [HANDLENS, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


def test_no_message_has_a_link_that_a_workspace_made():
    assert inert("see [this](command:evil)\nand\x1b[1m") == "see [this] (command:evil)\nand\\x1b[1m"


# -- names of modules -------------------------------------------------------------------------------

SHADOWS = ["types", "json", "random", "contextlib", "collections", "logging", "typing", "asyncio"]
SHADOWS += ["handlens_server", "pygls", "click", "rich"]


def shadowed(folder, mark):
    """A workspace whose modules are called like the standard library's, and like ours."""
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write('{name} ')\n")
    for name in ("core", "server"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"SCALE = {len(name)}.0\n")


def test_a_server_that_starts_in_a_workspace_imports_nothing_of_it(tmp_path):
    mark = tmp_path / "executed"
    shadowed(tmp_path, mark)
    with Wire(tmp_path, command=[HANDLENS, "server"]) as wire:
        wire.open((tmp_path / "model.py").as_uri(), "def handlens_a():\n    pass\n")
        assert wire.targets((tmp_path / "model.py").as_uri()) == ["handlens_a"]
    assert handlens("targets", str(tmp_path / "core" / "__init__.py"), cwd=tmp_path).returncode == 0
    assert not mark.exists()


# -- files ------------------------------------------------------------------------------------------


def loop(path):
    path.symlink_to(path)


def no_reading(path):
    # Nobody can read the memory at address 0, not even root.
    path.symlink_to("/proc/self/mem")


PROJECTS = {
    "a loop of links": loop,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
}

WRONG = {
    "what cannot be read": no_reading,
    "no UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
    "no TOML": lambda path: path.write_text("[tool.handlens"),
    "lists in lists": lambda path: path.write_text("a = " + "[" * 5000),
    "a number of ten thousand digits": lambda path: path.write_text("a = " + "9" * 10_000),
    "a tool that is a number": lambda path: path.write_text("tool = 3"),
    "a table that is a text": lambda path: path.write_text("tool.handlens = 'a'"),
    "targets that are a list": lambda path: path.write_text("[tool.handlens]\ntargets = [1]"),
    "a setting that nobody knows": lambda path: path.write_text("[tool.handlens]\n'\x7f' = 1"),
}


@pytest.mark.parametrize("name", PROJECTS)
def test_a_pyproject_that_is_no_file_is_none(tmp_path, name):
    PROJECTS[name](tmp_path / "pyproject.toml")
    found = discover("def handlens_a():\n    pass\n", str(tmp_path / "model.py"))
    assert [each.name for each in found.targets] == ["handlens_a"]


@pytest.mark.parametrize("name", WRONG)
def test_a_pyproject_that_is_wrong_is_named(tmp_path, name):
    WRONG[name](tmp_path / "pyproject.toml")
    for text in ("def handlens_a():\n    pass\n", "def handlens_a(:\n"):
        found = discover(text, str(tmp_path / "model.py"))
        assert found.failure is not None
        assert (
            "pyproject.toml" in found.failure.message or "does not parse" in found.failure.message
        )
    assert discover("x = 1\n", str(tmp_path / "model.py")).targets == ()


# -- whatever else ----------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        "def handlens_a",
        "class A",
        "(nn.Module)",
        "(a.b[c].Module, *d)",
        ":\n",
        " def example_inputs(self): pass\n",
        " def __init__(self, x, *, y): pass\n",
        "\n",
        "\r",
        "\f",
        "\0",
        "\ufeff",
        "\ud800",
        "\\\n",
        "()",
        "# handlens: ignore",
        "[HL101,",
        "]",
        "'''",
        "f'{",
        "@x\n",
        "async ",
        "ｄef handlens_ﬁ(): pass\n",
        "\t",
        " ",
        "# coding: latin-1\n",
        "(" * 300,
        "-" * 3000 + "1",
        "a" + ".b" * 3000,
    ]
)
SOURCES = st.lists(st.one_of(PIECES, st.text(max_size=6)), max_size=12).map("".join)


@bounded(150)
@given(SOURCES)
def test_any_text_has_targets_or_a_reason_and_suppressions_within_it(text):
    found = discover(text, "/no/such/folder/model.py")
    lines = text.splitlines()
    for each in found.targets:
        assert each.line <= len(lines)
    for comment in suppressions(text):
        assert comment.line >= 1
        assert 0 <= comment.column < comment.end_column


TOML = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "[tool.handlens]\n",
                "[tool.handlens.targets.a]\n",
                '[tool.handlens.targets."\\u202e"]\n',
                'model = "model:A"\n',
                'model = ":"\n',
                'model = "..:A"\n',
                'model = "/:\\u0000"\n',
                "keep_float = [1]\n",
                "select = ['HL']\n",
                "error-db = nan\n",
                "error-db = 1e400\n",
                "recipe = 3\n",
                "targets = 1\n",
                "[[tool]]\n",
            ]
        ),
        st.text(max_size=8),
    ),
    max_size=6,
).map("".join)


@bounded(150)
@given(TOML)
def test_any_pyproject_has_targets_or_is_wrong(tmp_path_factory, toml):
    folder = tmp_path_factory.getbasetemp() / "toml"
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(toml, "utf-8", errors="replace", newline="")
    file = str(folder / "model.py")
    for text in ("", "def handlens_a(:", "def handlens_a(): pass"):
        found = discover(text, file)
        assert found.failure is None or found.failure.message
    with contextlib.suppress(InvalidConfiguration):
        project_settings(file)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["target", "file", "ops", "error", "spans", "run", "event", "x"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@bounded(150)
@given(JSON)
def test_any_json_is_a_report_or_a_request_or_is_refused(data):
    for kind in (Report, RunRequest):
        try:
            read = from_json(kind, data)
        except ValueError:
            continue
        assert isinstance(read, kind)


@bounded(150)
@given(st.one_of(st.binary(max_size=60), JSON.map(lambda each: json.dumps(each).encode())))
def test_any_line_of_a_worker_is_a_message_or_is_refused(line):
    with contextlib.suppress(ValueError):
        assert isinstance(protocol.decode(line), dict)
