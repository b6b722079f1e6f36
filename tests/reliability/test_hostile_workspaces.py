"""What a workspace calls its files, modules and targets is text. What it has in the way ends nothing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from handlens.dataclass_json import from_json
from handlens.diagnosis.suppressions import suppressions
from handlens.project import project_settings
from handlens.report import Report
from handlens.request import RunRequest
from handlens.targets import InvalidConfiguration
from handlens.workers import wire
from handlens_server.text.discovery import discover
from handlens_server.text.documents import path_of
from handlens_server.window import inert
from tests.reliability.fuzzing import bounded
from tests.reliability.wire import Wire
from tests.server.conftest import MODEL, Client, OpenDocument, full_capabilities, serving_client

# As it is installed: `python -m` would look for modules in the working directory first.
# What a run of the model finds: an op that loses something, and the output that does.
MEASURED = {"HL101", "HL105"}
HANDLENS = str(Path(sys.executable).with_name("handlens"))

ACTING = "\x1b[31m\x07\u202e\u2066<img src=x onerror=alert(1)>[click](command:evil)`**_|\r\nsecond"
"""What terminals, browsers, Markdown and bidirectional text act upon, and a line end."""

# A name within a path of modules, and the message of an exception. Torch itself, which writes programs with
# the names of modules in quotes, cannot run one that has a line end there.
NAMES = f"""\
import torch
from torch import nn

NAME = {ACTING!r}


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict({{NAME.replace("\\r\\n", ""): nn.Linear(4, 4)}})
        type(self).__name__ = NAME

    def forward(self, x):
        for part in self.parts.values():
            x = part(x)
        return x


def handlens_named():
    return Named(), (torch.ones(1, 4),)
"""

RAISES = f"""\
def handlens_raises():
    raise type({ACTING!r}, (Exception,), {{}})({ACTING!r})
"""

CONFIGURED = f"""\
[tool.handlens.targets.{json.dumps(ACTING)}]
model = "model:Tiny"
example_inputs = "model:inputs"
"""


def is_harmless(text: str) -> bool:
    """Whether nothing in a text on lines acts upon what is around it."""
    return not any(character in text for character in "\x1b\x07\r\u202e\u2066")


def strings_in(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for each in data.values():
            yield from strings_in(each)
    elif isinstance(data, (list, tuple)):
        for each in data:
            yield from strings_in(each)
    elif hasattr(data, "__dict__"):
        yield from strings_in(vars(data))


async def test_hostile_names_are_text_wherever_they_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "a\u202e<b>[x](y)`"
    capabilities = full_capabilities()
    capabilities.experimental = {"handlens": {"status": True, "images": True, "commandLinks": True}}
    async with serving_client(folder, capabilities, folders=[folder]) as client:
        named = client.open("na\x1bme<b>.py", NAMES)
        found = await client.diagnostics(named)
        assert found
        raises = client.open("raises.py", RAISES)
        [failed] = await client.diagnostics(raises)
        assert "\\x1b[31m" in failed.message
        assert "\n" not in failed.message
        for each in (*found, failed):
            assert is_harmless(each.message)
            assert all(is_harmless(r.message) for r in each.related_information or ())
        hover = await client.hover(named, named.position("part(x)"))
        assert hover.contents.kind == types.MarkupKind.Markdown
        title = hover.contents.value.splitlines()[0]
        # All of the name is code, which Markdown shows as it is; its backtick does not end it.
        assert title.startswith("**linear** · ``")
        assert title.endswith("``")
        assert "onerror" in title
        assert is_harmless(hover.contents.value)
        for uri, target in ((named.uri, "handlens_named"), (raises.uri, "handlens_raises")):
            params = {"uri": uri, "target": target}
            report = await client.protocol.send_request_async("handlens/report", params)
            assert all(map(is_harmless, strings_in(report)))
        assert any("onerror" in op.module for op in (await _report(client, named)).ops)
        uri = await client.execute("handlens.server.report", named.uri, "html")
        page = Path(path_of(uri) or "").read_text("utf-8")
        assert "<img" not in page
        assert is_harmless(page)
        lenses = await client.text_document_code_lens_async(types.CodeLensParams(named.identifier))
        assert all(is_harmless(each.command.title) for each in lenses)
        errors = [
            target.error
            for status in client.statuses
            for target in status.targets
            if status.uri == raises.uri and target.error
        ]
        assert "\\x1b[31m" in errors[-1]
        assert all(map(is_harmless, errors))


async def _report(client: Client, document: OpenDocument) -> Any:
    params = {"uri": document.uri, "target": "handlens_named"}
    return await client.protocol.send_request_async("handlens/report", params)


def test_the_command_line_shows_hostile_names_as_text(tmp_path: Path) -> None:
    folder = tmp_path / "a\u202e<b>\x1b[1m"
    folder.mkdir()
    (folder / "model.py").write_text(NAMES + "\n\n" + RAISES)
    for form in ("text", "html"):
        done = handlens("check", str(folder / "model.py"), "--format", form, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "onerror" in done.stdout
        assert "<img" not in done.stdout or form == "text"
        assert is_harmless(done.stdout)


def handlens(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HANDLENS, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


def test_no_message_has_a_link_that_a_workspace_made() -> None:
    assert inert("see [this](command:evil)\nand\x1b[1m") == "see [this] (command:evil)\nand\\x1b[1m"


# -- names of modules -------------------------------------------------------------------------------

SHADOWS = ["types", "json", "random", "contextlib", "collections", "logging", "typing", "asyncio"]
SHADOWS += ["handlens_server", "pygls", "click", "rich"]


def shadowed(folder: Path, mark: Path) -> None:
    """A workspace whose modules are called like the standard library's, and like ours."""
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write('{name} ')\n")
    for name in ("core", "server"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"SCALE = {len(name)}.0\n")


async def test_a_workspace_may_call_its_modules_as_it_likes(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    shadowed(tmp_path, mark)
    text = MODEL.replace(
        "import torch\n",
        "import torch\nimport random\nimport types\nimport json\nimport core\nimport server\n"
        "assert random.random() < 1 and types.SimpleNamespace and json.loads('1')\n"
        "assert core.SCALE == 4.0 and server.SCALE == 6.0\n",
        1,
    )
    async with serving_client(tmp_path) as client:
        for name in ("model.py", "torch.py", "handlens.py", "random.py"):
            document = client.open(name, text)
            found = await client.diagnostics(document)
            assert {each.code for each in found} == MEASURED, found
    assert not mark.exists()


def test_a_server_that_starts_in_a_workspace_imports_nothing_of_it(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    shadowed(tmp_path, mark)
    with Wire(tmp_path, command=[HANDLENS, "server"]) as wire:
        wire.open((tmp_path / "model.py").as_uri(), "def handlens_a():\n    pass\n")
        assert wire.targets((tmp_path / "model.py").as_uri()) == ["handlens_a"]
    assert handlens("targets", str(tmp_path / "core" / "__init__.py"), cwd=tmp_path).returncode == 0
    assert not mark.exists()


# -- files ------------------------------------------------------------------------------------------


def loop(path: Path) -> None:
    path.symlink_to(path)


def no_reading(path: Path) -> None:
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
def test_a_pyproject_that_is_no_file_is_none(tmp_path: Path, name: str) -> None:
    PROJECTS[name](tmp_path / "pyproject.toml")
    found = discover("def handlens_a():\n    pass\n", str(tmp_path / "model.py"))
    assert [each.name for each in found.targets] == ["handlens_a"]


@pytest.mark.parametrize("name", WRONG)
def test_a_pyproject_that_is_wrong_is_named(tmp_path: Path, name: str) -> None:
    WRONG[name](tmp_path / "pyproject.toml")
    for text in ("def handlens_a():\n    pass\n", "def handlens_a(:\n"):
        found = discover(text, str(tmp_path / "model.py"))
        assert found.failure is not None
        assert (
            "pyproject.toml" in found.failure.message or "does not parse" in found.failure.message
        )
    assert discover("x = 1\n", str(tmp_path / "model.py")).targets == ()


@pytest.mark.asyncio(loop_scope="module")
async def test_files_that_vanish_or_lead_nowhere_are_run_from_the_editor(client: Client) -> None:
    (client.root / "here").symlink_to(client.root)
    loop(client.root / "loop.py")
    gone = client.open("folder/gone.py", MODEL)
    gone.file.unlink()
    gone.file.parent.rmdir()
    assert {each.code for each in await client.diagnostics(gone)} == MEASURED
    linked = client.open("here/here/here/model.py", MODEL)
    assert {each.code for each in await client.diagnostics(linked)} == MEASURED
    imports = client.open("imports.py", "import loop\n" + MODEL)
    [error] = await client.diagnostics(imports)
    assert (error.code, error.range.start.line) == ("HL301", 0)
    assert not client.messages


async def test_no_file_is_written_but_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, temporary, project = (tmp_path / each for each in ("home", "temporary", "project"))
    for folder in (home, temporary, project):
        folder.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    async with serving_client(project) as client:
        client.write("helper.py", "SCALE = 2.0\n")
        document = client.open("model.py", "import helper\n" + MODEL)
        await client.diagnostics(document)
        await client.execute("handlens.server.report", document.uri, "html")
        await client.execute("handlens.server.report", document.uri, "json")
        [reports] = temporary.glob("handlens-*")
        assert reports.stat().st_mode & 0o077 == 0
        written = {each.relative_to(project).as_posix() for each in project.rglob("*")}
        # Python's own cache of what the model imports is the one that it has anyway.
        assert {each for each in written if "__pycache__" not in each} == {"helper.py", "model.py"}
        assert list(home.rglob("*")) == []
    assert list(temporary.glob("handlens-*")) == []


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
def test_any_text_has_targets_or_a_reason_and_suppressions_within_it(text: str) -> None:
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
def test_any_pyproject_has_targets_or_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, toml: str
) -> None:
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
def test_any_json_is_a_report_or_a_request_or_is_refused(data: Any) -> None:
    for kind in (Report, RunRequest):
        try:
            read = from_json(kind, data)
        except ValueError:
            continue
        assert isinstance(read, kind)


@bounded(150)
@given(st.one_of(st.binary(max_size=60), JSON.map(lambda each: json.dumps(each).encode())))
def test_any_line_of_a_worker_is_a_message_or_is_refused(line: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(wire.decode(line), dict)


HOSTILE_EVENTS = """\
import json, os, stat
pipes = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2]
events = [
    b"\\xff\\xfe\\n", b"[]\\n", b"3\\n", b"[" * 5000 + b"\\n", b"{\\n", b"\\n\\n\\n", b"9" * 5000 + b"\\n",
    *(json.dumps(each).encode() + b"\\n" for each in (
        {}, {"event": []}, {"event": "stage"}, {"event": "stage", "run": {}, "stage": 3},
        {"event": "stage", "run": 1, "stage": {}}, {"event": "kept", "run": 1, "process": "1"},
        {"event": "died", "run": 99, "reason": 1},
        {"event": "ready"}, {"event": "unusable"}, {"event": "cancelled", "run": 98},
        {"event": "report", "run": 97, "report": {}}, {"event": "nothing", "run": 1},
    )),
]
for fd in pipes:
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode):
            os.set_blocking(fd, False)
            for each in events:
                os.write(fd, each)
            os.set_blocking(fd, True)
    except OSError:
        pass
"""


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_model_writes_into_every_pipe_it_finds_is_no_event_of_another(
    client: Client,
) -> None:
    hostile = client.open("hostile.py", HOSTILE_EVENTS + MODEL)
    well = client.open("well.py", MODEL)
    assert {each.code for each in await client.diagnostics(well)} == MEASURED
    found = await client.diagnostics(hostile)
    assert {each.code for each in found} <= {*MEASURED, "HL304"}
    client.save(hostile, MODEL)
    again = await client.diagnostics(hostile, lambda found: len(found) > 1)
    assert {each.code for each in again} == MEASURED
