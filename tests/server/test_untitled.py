"""Documents that are in no file yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.server.conftest import Client, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

URI = "untitled:Untitled-1"


def open_untitled(client: Client, text: str) -> None:
    client.text_document_did_open(
        types.DidOpenTextDocumentParams(types.TextDocumentItem(URI, "python", 1, text))
    )


async def last(client: Client, wanted: Callable[..., Any]) -> types.PublishDiagnosticsParams:
    def find() -> Any:
        published = client.published[URI]
        return published and wanted(published[-1].diagnostics) and [published[-1]]

    return (await client.until(find))[0]


async def test_an_untitled_document_is_run_as_it_is(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path) as client:
        open_untitled(client, model)
        shown = await last(client, bool)
        assert "HL101" in {each.code for each in shown.diagnostics}
        document = types.TextDocumentIdentifier(URI)
        at = shown.diagnostics[0].range.start
        assert await client.text_document_hover_async(types.HoverParams(document, at))

        # It cannot be saved under its name, so it is run when typing pauses.
        client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(2, URI),
                [types.TextDocumentContentChangeWholeDocument(model + "1 / 0\n")],
            )
        )
        shown = await last(client, lambda found: "HL301" in {each.code for each in found})
        [found] = [each for each in shown.diagnostics if each.code == "HL301"]
        assert "Untitled-1" in found.message
        assert found.range.start.line == model.count("\n")
        assert list(tmp_path.iterdir()) == []

        client.text_document_did_close(types.DidCloseTextDocumentParams(document))
        await last(client, lambda found: not found)


async def test_an_untitled_document_imports_what_is_in_the_workspace(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path) as client:
        client.write("width.py", "SIZE = 8\n")
        open_untitled(client, "import width\n" + model.replace("(3, 8, 3)", "(3, width.SIZE, 3)"))
        shown = await last(client, bool)
        assert "HL101" in {each.code for each in shown.diagnostics}
