"""Whatever goes wrong in the user's file is shown on the user's line, and the next good save works."""

import os
from pathlib import Path

import pytest
from lsprotocol import types

from handlens import switches
from tests.server.conftest import Client, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGET = """

def handlens_broken():
    return Broken(), (torch.ones(2, 3),)
"""

MODULE = """\
import torch
from torch import nn


class Broken(nn.Module):
    def forward(self, x):
"""

FAILURES = {
    "a syntax error": (
        "def handlens_broken():\n    return = 1\n",
        "HL301",
        "return = 1",
        "broken.py does not parse: invalid syntax",
    ),
    "an import that fails": (
        "import torch\nimport no_such_package\n" + TARGET,
        "HL301",
        "import no_such_package",
        "no_such_package",
    ),
    "sys.exit at import": (
        "import sys\n\nsys.exit(3)\n" + TARGET,
        "HL301",
        "sys.exit(3)",
        "sys.exit(3)",
    ),
    "os._exit at import": (
        "import os\n\nos._exit(7)\n" + TARGET,
        "HL304",
        "def handlens_broken",
        "exit status 7",
    ),
    "a target that raises": (
        "def handlens_broken():\n    raise ValueError('no weights')\n",
        "HL301",
        "raise ValueError",
        "ValueError: no weights",
    ),
    "a target that returns the wrong thing": (
        "def handlens_broken():\n    return 42\n",
        "HL305",
        "def handlens_broken",
        "handlens_broken returned an int",
    ),
    "a recipe that does not exist": (
        MODULE + "        return x + 1\n"
        "\n\ndef handlens_broken():\n"
        "    return dict(model=Broken(), example_inputs=(torch.ones(2),), recipe='nope')\n",
        "HL305",
        "def handlens_broken",
        "nope",
    ),
    "export failing on data-dependent control flow": (
        MODULE
        + "        if x.sum() > 0:\n            return x + 1\n        return x - 1\n"
        + TARGET,
        "HL302",
        "if x.sum() > 0",
        "Exporting Broken failed",
    ),
    "calibration failing inside an op": (
        MODULE.replace(
            "    def forward",
            "    def __init__(self):\n        super().__init__()\n"
            "        self.table = nn.Embedding(4, 3)\n\n    def forward",
        )
        + "        return self.table(x)\n"
        "\n\ndef handlens_broken():\n"
        "    good, bad = torch.tensor([1, 2]), torch.tensor([1, 99])\n"
        "    return dict(model=Broken(), example_inputs=(good,), calibration=[(bad,)])\n",
        "HL303",
        "return self.table(x)",
        "embedding failed in calibration, on batch 1: IndexError",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_is_shown_on_its_line_and_the_next_good_save_works(
    client: Client, model: str, failure: str
) -> None:
    text, code, line, message = FAILURES[failure]
    document = client.open(f"{failure}/broken.py", text)
    [diagnostic] = await client.diagnostics(document)
    assert diagnostic.code == code
    assert message in diagnostic.message
    assert diagnostic.severity == types.DiagnosticSeverity.Error
    assert diagnostic.range.start.line == document.position(line).line

    client.save(document, model)
    good = await client.diagnostics(document, lambda found: len(found) > 1)
    assert not [each for each in good if each.code.startswith("HL3")]


async def test_a_failed_run_keeps_what_the_last_good_one_found_and_marks_it(
    client: Client, model: str
) -> None:
    document = client.open("breaks.py", model)
    good = await client.diagnostics(document)
    client.save(document, model.replace("return x\n", "return y\n"))
    found = await client.diagnostics(document, lambda found: any(e.code == "HL302" for e in found))
    [error] = [each for each in found if each.code == "HL302"]
    assert error.range.start.line == document.position("return y").line
    kept = [each for each in found if each is not error]
    assert [each.range for each in kept] == [each.range for each in good]
    assert all("the last run that worked" in each.message for each in kept)
    hover = await client.hover(document, document.position("conv(x)"))
    assert "the last run that worked" in hover.contents.value

    client.save(document, model)
    assert await client.diagnostics(document, lambda found: found == good)


@pytest.mark.skipif(
    switches.workers() == "standby",
    reason="no process but the server's own is between it and a run",
)
async def test_a_worker_that_is_killed_is_replaced(client: Client, model: str) -> None:
    murder = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n" + model
    document = client.open("murder.py", murder)
    [diagnostic] = await client.diagnostics(document)
    assert diagnostic.code == "HL304"
    assert diagnostic.range.start == document.position("handlens_tiny")
    client.save(document, model)
    await client.diagnostics(document, lambda found: len(found) > 1)


async def test_a_worker_that_cannot_start_is_told_of_with_what_it_wrote(
    tmp_path: Path, serving: Serving, model: str
) -> None:
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho loading >&2\necho 'no licence for this Python' >&2\nexit 3\n"
    )
    python.chmod(0o755)
    async with serving(tmp_path, interpreter=str(python)) as client:
        document = client.open("model.py", model)
        [diagnostic] = await client.diagnostics(document)
        assert diagnostic.code == "HL304"
        assert diagnostic.message.endswith(
            "exit status 3 as it started: no licence for this Python"
        )
        await client.until(lambda: [m for m in client.logged if "loading" in m.message])


async def test_output_of_the_model_goes_to_the_log_of_the_client(
    client: Client, model: str
) -> None:
    document = client.open("talks.py", "print('hello from the model')\n" + model)
    await client.diagnostics(document)
    await client.until(lambda: [m for m in client.logged if "hello from the model" in m.message])


async def test_files_without_a_target_are_left_alone(client: Client, model: str) -> None:
    plain = client.open("plain.py", "x = 1\n")
    half_typed = client.open("half_typed.py", "def f(:\n")
    text = client.open("notes.md", "def handlens_notes(:\n", language="markdown")
    document = client.open("after.py", model)
    await client.diagnostics(document)
    assert not {plain.uri, half_typed.uri, text.uri} & client.published.keys()
    await client.rerun(plain)
    await client.until(lambda: [m for m in client.messages if "No Handlens target" in m.message])


async def test_an_untitled_document_does_no_harm(client: Client) -> None:
    item = types.TextDocumentItem("untitled:Untitled-1", "python", 1, "def handlens_x(): pass\n")
    client.text_document_did_open(types.DidOpenTextDocumentParams(item))
    hover = types.HoverParams(types.TextDocumentIdentifier(item.uri), types.Position(0, 0))
    assert await client.text_document_hover_async(hover) is None


async def test_a_wrong_project_file_is_shown_on_the_first_line(client: Client, model: str) -> None:
    client.write("project/pyproject.toml", "[tool.handlens.targets.main]\nmodel = 3\n")
    document = client.open("project/model.py", model)
    [diagnostic] = await client.diagnostics(document)
    assert diagnostic.code == "HL305"
    assert diagnostic.range.start.line == 0
    assert "pyproject.toml" in diagnostic.message
    os.remove(client.root / "project" / "pyproject.toml")
    client.save(document)
    await client.diagnostics(document, lambda found: len(found) > 1)


async def test_no_message_box_was_shown_but_for_what_was_asked(client: Client) -> None:
    assert all("No Handlens target" in each.message for each in client.messages)
    assert client.process.returncode is None
