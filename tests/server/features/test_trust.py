"""Nothing of a workspace is executed before it is trusted, whoever the client is."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
from lsprotocol import types

from tests.server.conftest import Serving

MARKED = """\
from pathlib import Path
Path({mark!r}).touch()
"""


async def test_nothing_is_executed_before_the_workspace_is_trusted(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    mark = tmp_path / "executed"
    # A workspace could bring an interpreter of its own, too.
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ntouch {mark}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    async with serving(
        tmp_path, workspaceTrusted=False, interpreter=".venv/bin/python", run="onType"
    ) as client:
        document = client.open("model.py", MARKED.format(mark=str(mark)) + model)
        client.save(document, document.text + "\nX = 1\n")
        await client.rerun(document)
        client.configure(interpreter=str(python))
        client.workspace_did_change_watched_files(
            types.DidChangeWatchedFilesParams(
                [types.FileEvent(document.uri, types.FileChangeType.Changed)]
            )
        )
        await client.execute("handlens.server.restartWorker")
        [message] = await client.until(lambda: client.messages)
        assert "not trusted" in message.message
        lenses = await client.text_document_code_lens_async(
            types.CodeLensParams(document.identifier)
        )
        assert [each.command.title for each in lenses] == [
            "Handlens: not run, the workspace is not trusted"
        ]
        # An answer to a request comes after all that was said before it has been dealt with.
        assert await client.hover(document, document.position("self.conv(x)")) is None
        assert psutil.Process(client.process.pid).children() == []
        assert not mark.exists()

        # As clients send what has no parameters.
        client.protocol._send_data({"jsonrpc": "2.0", "method": "handlens/didGrantTrust"})
        assert await client.diagnostics(document)
        assert mark.exists()


async def test_a_client_that_knows_no_trust_is_served_at_once(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path) as client:
        document = client.open("model.py", model)
        assert await asyncio.wait_for(client.diagnostics(document), 90)
