"""Texts as they come: line ends, tabs, marks and form feeds; files that go away while they are run."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from lsprotocol import types

from handlens.source_text import split_lines
from handlens_server.text import positions
from tests.server.conftest import Client, HeldRun, OpenDocument

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONV = "self.conv(x)"
EXPRESSIONS = {CONV, f"{CONV}.mean((2, 3))", "block(x)"}


def covered(document: OpenDocument, where: types.Range) -> str:
    """The text in a range of a single line, by the protocol's line ends."""
    line = re.split(r"\r\n|\r|\n", document.text)[where.start.line]
    assert where.start.line == where.end.line
    start, end = (
        positions.code_points(line, each.character, "utf-16") for each in (where.start, where.end)
    )
    return line[start:end]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("crlf", lambda text: text.replace("\n", "\r\n")),
        ("cr", lambda text: text.replace("\n", "\r")),
        ("bom", lambda text: "\ufeff" + text),
        ("form_feeds", lambda text: text.replace("\n\n\n", "\n\f\n\f\n")),
        ("tabs", lambda text: text.replace("    ", "\t")),
        ("separators", lambda text: '_ = "\u2028\x1c\x85"\n' + text),
        ("beyond_the_bmp", lambda text: text.replace("x = self", 'é = "𝔘😀"; x = self')),
        ("all", lambda t: "\ufeff\f\n" + t.replace("    ", "\t").replace("\n", "\r\n")),
    ],
)
async def test_what_is_found_is_shown_on_its_text(
    client: Client, model: str, name: str, changed: Callable[[str], str]
) -> None:
    document = client.open(f"text_{name}.py", changed(model))
    found = await client.diagnostics(document)
    shown = {covered(document, each.range) for each in found if each.code == "HL101"}
    assert shown
    assert shown <= EXPRESSIONS

    # An edit in the middle is understood as it is meant.
    lines = split_lines(document.text)
    number = next(i for i, line in enumerate(lines) if CONV in line)
    above = types.Position(number, 0)
    comment = (
        re.match(r"\s*", lines[number])[0] + "# é😀" + re.search(r"[\r\n]+$", lines[number])[0]
    )
    document.version += 1
    document.text = "".join([*lines[:number], comment, *lines[number:]])
    client.text_document_did_change(
        types.DidChangeTextDocumentParams(
            types.VersionedTextDocumentIdentifier(document.version, document.uri),
            [types.TextDocumentContentChangePartial(types.Range(above, above), comment)],
        )
    )
    moved = await client.diagnostics(document)
    assert {covered(document, each.range) for each in moved if each.code == "HL101"} == shown
    client.close(document)


async def test_a_file_that_is_deleted_while_it_is_run_is_run_from_its_editor(
    client: Client, held: HeldRun, model: str
) -> None:
    document = client.open("deleted.py", held.text)
    await held.begun()
    document.file.unlink()
    client.change(document, model)
    await client.rerun(document)
    assert await client.diagnostics(document, lambda found: found)
    client.close(document)
    assert await client.until(lambda: client.published[document.uri][-1].diagnostics == ())


async def test_a_file_that_is_renamed_while_it_is_run_is_shown_by_its_new_name(
    client: Client, held: HeldRun, model: str
) -> None:
    before = client.open("before.py", held.text)
    await held.begun()
    # That is what editors say of it: one is closed, another opened.
    client.close(before)
    before.file.rename(client.root / "after.py")
    after = client.open("after.py", model)
    await held.killed()
    assert await client.diagnostics(after)
    assert all(not each.diagnostics for each in client.published[before.uri])


async def test_an_import_that_is_deleted_while_it_is_run_is_told_by_the_next_run(
    client: Client, held: HeldRun, model: str
) -> None:
    client.write("parts.py", "SIZE = 8\n")
    text = model.replace("import torch\n", "import torch\nimport parts\n", 1)
    document = client.open("importing.py", text)
    assert await client.diagnostics(document)
    (client.root / "parts.py").unlink()
    client.workspace_did_change_watched_files(
        types.DidChangeWatchedFilesParams(
            [types.FileEvent((client.root / "parts.py").as_uri(), types.FileChangeType.Deleted)]
        )
    )
    failed = await client.diagnostics(
        document, lambda found: "HL301" in {each.code for each in found}
    )
    [error] = [each for each in failed if each.code == "HL301"]
    assert document.covered(error.range).strip() == "import parts"
    assert "No module named 'parts'" in error.message
