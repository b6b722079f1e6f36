"""What the user can set, and how the server learns of it."""

import asyncio
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from lsprotocol import types

from handlens.diagnosis.thresholds import ChosenThresholds
from handlens_server import settings
from handlens_server.settings import Settings
from handlens_server.worker import interpreter
from tests.server.conftest import GUARD_S, SETTINGS, Capabilities, Client, OpenDocument, Serving

DOCS = Path(__file__).parents[2] / "docs"


def test_the_section_is_found_with_and_without_its_name() -> None:
    wanted = Settings("/usr/bin/python3", "x86", ChosenThresholds(5.0, 15.0, 25.0))
    section = {
        "interpreter": "/usr/bin/python3",
        "recipe": "x86",
        "thresholds": {"errorDb": 5, "warningDb": 15.0, "informationDb": 25},
    }
    assert settings.parse(section) == (wanted, [])
    assert settings.parse({"handlens": section}) == (wanted, [])


@pytest.mark.parametrize("nothing", [None, {}, {"handlens": None}, {"interpreter": ""}])
def test_what_is_not_set_has_its_default(nothing: Any) -> None:
    assert settings.parse(nothing) == (Settings(), [])


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"interpreter": 3}, "handlens.interpreter"),
        ({"recipe": ["x86"]}, "handlens.recipe"),
        ({"thresholds": 10}, "handlens.thresholds"),
        ({"thresholds": {"errorDb": "ten"}}, "handlens.thresholds.errorDb"),
        ({"thresholds": {"warningDb": True}}, "handlens.thresholds.warningDb"),
        ({"thresholds": {"errorDb": 25, "warningDb": 20}}, "handlens.thresholds"),
        ("x86", "handlens"),
    ],
)
def test_a_wrong_value_is_named_and_its_default_holds(wrong: Any, name: str) -> None:
    chosen, [problem] = settings.parse(wrong)
    assert chosen == Settings()
    assert problem.startswith(f"Handlens: {name} is ignored: ")


def test_a_wrong_value_leaves_the_others_in_force() -> None:
    chosen, problems = settings.parse({"recipe": "x86", "interpreter": 3})
    assert chosen == Settings(recipe="x86")
    assert len(problems) == 1


def test_the_interpreter_is_the_setting_then_the_environment_then_the_server_s(
    tmp_path: Path,
) -> None:
    root, active = tmp_path / "root", tmp_path / "active"
    for folder in (active, root / ".venv"):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()
    environment = {"VIRTUAL_ENV": str(active)}

    assert interpreter.choose("/a/python", str(root), environment) == "/a/python"
    assert interpreter.choose("env/bin/python", str(root)) == str(root / "env/bin/python")
    assert interpreter.choose("~/python", str(root)) == os.path.expanduser("~/python")
    assert os.path.isabs(interpreter.choose("sh", str(root)))
    assert interpreter.choose(None, str(root), environment) == str(active / "bin" / "python")
    assert interpreter.choose(None, str(root), {}) == str(root / ".venv" / "bin" / "python")
    gone = {"VIRTUAL_ENV": str(tmp_path / "gone")}
    assert interpreter.choose(None, str(tmp_path), gone) == sys.executable


async def test_settings_come_and_change_while_the_server_runs(
    serving: Serving, capabilities: Capabilities, tmp_path: Path, model: str
) -> None:
    client_capabilities = capabilities()
    client_capabilities.workspace = types.WorkspaceClientCapabilities(
        configuration=True,
        did_change_configuration=types.DidChangeConfigurationClientCapabilities(
            dynamic_registration=True
        ),
    )
    pulled = {**SETTINGS, "thresholds": {"informationDb": 300}}
    async with serving(
        tmp_path, client_capabilities, configuration=pulled, interpreter="/no/such/python"
    ) as client:
        document = client.open("model.py", model)
        # Not a word of the interpreter that the options name: runs wait for the client's answer.
        first = await client.diagnostics(document)
        assert not client.messages
        information = types.DiagnosticSeverity.Information
        assert information in [each.severity for each in first]
        await client.until(lambda: client.registered)
        assert client.registered[0].method == types.WORKSPACE_DID_CHANGE_CONFIGURATION

        client.configuration = {**pulled, "thresholds": {"warningDb": 300, "informationDb": 300}}
        client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))
        second = await client.diagnostics(document)
        assert information not in [each.severity for each in second]

        client.configuration = {**client.configuration, "recipe": 7}
        for _ in range(2):
            client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))
        await client.until(lambda: client.messages)
        assert "handlens.recipe is ignored: 7 is not" in client.messages[0].message

        client.configuration = {**pulled, "interpreter": "/no/such/python"}
        client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))
        await client.diagnostics(document, lambda found: "HL304" in [each.code for each in found])
        assert [each.type for each in client.messages] == [
            types.MessageType.Warning,
            types.MessageType.Error,
        ]


async def test_each_folder_has_its_own_settings(
    serving: Serving, capabilities: Capabilities, tmp_path: Path, model: str
) -> None:
    able = capabilities()
    able.workspace = types.WorkspaceClientCapabilities(configuration=True)
    first, second = tmp_path / "first", tmp_path / "second"
    async with serving(
        tmp_path,
        able,
        configuration=SETTINGS,
        folders=[first, second],
    ) as client:
        client.folder_configuration[second.as_uri()] = {"recipe": "bf16", "advise": "off"}
        client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))
        documents = [client.open(f"{folder.name}/net.py", model) for folder in (first, second)]
        for document in documents:
            await client.diagnostics(document)
        assert await recipes(client, documents) == ["x86", "bf16"]

        # The other folder has nothing to do with it.
        ran = len(client.progress_values)
        client.folder_configuration[second.as_uri()] = {
            "recipe": "fp16",
            "deadline": "soon",
            "advise": "off",
        }
        client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))
        await client.diagnostics(documents[1])
        assert await recipes(client, documents) == ["x86", "fp16"]
        assert len({token for token, _ in client.progress_values[ran:]}) == 1
        [message] = client.messages
        assert "handlens.deadline is ignored: 'soon'" in message.message
        assert str(second) in message.message

        # A folder that comes later is asked for, too.
        third = tmp_path / "third"
        client.folder_configuration[third.as_uri()] = {"recipe": "int8-dynamic", "advise": "off"}
        client.workspace_did_change_workspace_folders(
            types.DidChangeWorkspaceFoldersParams(
                types.WorkspaceFoldersChangeEvent(
                    [types.WorkspaceFolder(third.as_uri(), "third")], []
                )
            )
        )
        documents.append(client.open("third/net.py", model))
        await client.diagnostics(documents[2])
        while await recipes(client, documents[2:]) != ["int8-dynamic"]:
            await client.diagnostics(documents[2])


async def recipes(client: Client, documents: list[OpenDocument]) -> list[str]:
    found = [await client.execute("handlens.server.showTargets", each.uri) for each in documents]
    return [target["recipe"] for [target] in found]


async def test_another_interpreter_is_one_worker_for_all_documents_of_a_folder(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    async with serving(tmp_path) as client:
        documents = [client.open(name, model) for name in ("one.py", "two.py")]
        for document in documents:
            await client.diagnostics(document)
        server = psutil.Process(client.process.pid)
        [before] = server.children()
        # Both are run anew at once, and each finds the worker of the interpreter from before.
        client.configure(interpreter=str(other))
        for document in documents:
            await client.diagnostics(document)
        await asyncio.to_thread(psutil.wait_procs, [before], GUARD_S)
        assert not before.is_running()
        assert len(server.children()) == 1


def test_the_page_of_the_settings_is_made_from_their_definitions() -> None:
    page = runpy.run_path(str(DOCS / "settings.py"))["page"]()
    assert (DOCS / "settings.md").read_text("utf-8") == page


async def test_an_interpreter_without_torch_is_named_once(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = str(bare / "bin" / "python")
    async with serving(tmp_path, interpreter=python) as client:
        document = client.open("model.py", model)
        [diagnostic] = await client.diagnostics(document)
        assert diagnostic.code == "HL304"
        assert diagnostic.range == document.range("handlens_tiny")
        assert python in diagnostic.message
        assert "torch is not installed" in diagnostic.message
        client.save(document)
        await client.diagnostics(document)
        [message] = client.messages
        assert message.type == types.MessageType.Error
        assert python in message.message

        client.configure(thresholds={"informationDb": 300})
        assert await client.diagnostics(document, lambda found: len(found) > 1)
