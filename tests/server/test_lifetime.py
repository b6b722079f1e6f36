"""How the server starts and ends."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lsprotocol import types

from handlens_server import lifetime
from tests.server.conftest import Serving


@pytest.mark.slow
def test_the_server_never_imports_torch() -> None:
    check = (
        "import sys, handlens_server.server, handlens_server.__main__\n"
        "handlens_server.server.create_server()\n"
        "assert not {'torch', 'torchao', 'numpy'} & sys.modules.keys()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", check], check=True, env=environment)


async def test_exit_after_shutdown_is_a_success(serving: Serving, tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        assert await client.leave() == 0


async def test_exit_without_shutdown_is_an_error(serving: Serving, tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        client.exit(None)
        assert await asyncio.wait_for(client.process.wait(), 30) == 1


def test_a_client_that_cannot_be_seen_is_not_taken_for_gone() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    for pid in (process.pid, 0, -1, 1 << 40):
        assert lifetime.watch(pid, lambda: None) is None


@pytest.mark.slow
def test_printing_does_not_disturb_the_protocol() -> None:
    program = (
        "import os\n"
        "from handlens_server import server\n"
        "create = server.create_server\n"
        "def noisy():\n"
        "    print('some noise', flush=True)\n"
        "    os.write(1, b'more noise')\n"
        "    return create()\n"
        "server.create_server = noisy\n"
        "raise SystemExit(server.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout == ""
    assert "some noise" in done.stderr
    assert "more noise" in done.stderr
    assert done.returncode == 1


async def test_a_client_that_can_do_nothing_is_served(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, types.ClientCapabilities()) as client:
        document = client.open("model.py", model)
        diagnostics = await client.diagnostics(document)
        assert [each.code for each in diagnostics].count("HL101") == 3
        assert not [each for each in diagnostics if each.related_information]
        assert diagnostics[0].code_description is None
        assert diagnostics[0].data is None
        assert not client.progress_values
        hover = await client.hover(document, document.position("self.conv(x)"))
        assert hover.contents.kind == types.MarkupKind.PlainText
        assert "|" not in hover.contents.value
        context = types.CodeActionContext(diagnostics)
        [command] = await client.text_document_code_action_async(
            types.CodeActionParams(document.identifier, diagnostics[0].range, context)
        )
        assert command.command == "handlens.server.rerun"
