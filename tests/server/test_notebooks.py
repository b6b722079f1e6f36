"""Notebooks: a target in any cell, results in the cells that they belong to, and no cell run in vain."""

from __future__ import annotations

import ast

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from handlens_server.text import notebooks

MODEL = """\
class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, WIDTH, 3)

    def forward(self, x):
        x = self.conv(x)
        return torch.relu(x)"""

CELLS = [
    "%matplotlib inline\nimport torch\nfrom torch import nn",
    "!pip list\nraise RuntimeError('this cell trains for an hour')\n",
    "WIDTH = 8\n",
    MODEL,
    "def handlens_tiny():\n    return Tiny(), (torch.ones(1, 3, 8, 8),)",
]


def test_what_is_run_of_a_notebook_is_what_its_targets_need():
    text = notebooks.text(CELLS)
    assert text.count("\n") == sum(map(notebooks.height, CELLS))
    namespace = {}
    exec(text, namespace)
    assert {"torch", "nn", "WIDTH", "Tiny", "handlens_tiny"} <= namespace.keys()


@pytest.mark.parametrize(
    ("cell", "runs"),
    [
        ("model = Net()\nmodel.load()\nprint('x')", "model = Net()\nmodel.load()\n0         "),
        ("model = 1\nfor _ in x:\n    train(model)", "model = 1\nfor _ in x:\n    train(model)"),
        ("train(other)", "0           "),
        ("train(other); import sys", "0           ; import sys"),
        ("%time x = 1", "0          "),
        ("%%time\nmodel = Net()", "      \nmodel = Net()"),
        ("%%bash\nls", "      \n  "),
        ("x = !ls\nmodel = Net(x)", "x = 0  \nmodel = Net(x)"),
        ("model?", "0     "),
        ("@wrapped\ndef unused(): pass", "0       \n                  "),
    ],
)
def test_what_has_nothing_to_do_with_a_target_is_blank(cell, runs):
    target = "def handlens_x():\n    return model, ()\n"
    assert notebooks.text([cell, target]) == f"{runs}\n{target}"


_lines = st.sampled_from(
    [
        "%magic é",
        "!sh",
        "x?",
        "x = 1",
        "y = x",
        "def f(): return y",
        "    pass",
        "if x:",
        "'''",
        "# 🙂",
    ]
)


@given(st.lists(st.lists(_lines, max_size=5).map("\n".join), max_size=5))
def test_every_line_stays_where_it_is(cells):
    text = notebooks.text([*cells, CELLS[-1]])
    assert text.count("\n") == sum(map(notebooks.height, [*cells, CELLS[-1]]))
    written = "".join(each if each.endswith("\n") else each + "\n" for each in [*cells, CELLS[-1]])
    for before, after in zip(written.split("\n"), text.split("\n")):
        assert len(before) == len(after)
        for old, new in zip(before, after):
            assert new in (old, " ", "0")


class Notebook:
    """A notebook as its client has it."""

    def __init__(self, client, name, cells):
        self.client = client
        self.uri = (client.root / name).as_uri()
        self.version = 1
        self.cells = []
        items = [self._cell(text) for text in cells]
        client.notebook_document_did_open(
            types.DidOpenNotebookDocumentParams(
                types.NotebookDocument(self.uri, "jupyter-notebook", 1, self._described(items)),
                items,
            )
        )
        self.cells = items

    def _cell(self, text):
        self._number = getattr(self, "_number", 0) + 1
        uri = f"{self.uri.replace('file:', 'vscode-notebook-cell:')}#C{self._number}"
        return types.TextDocumentItem(uri, "python", 1, text)

    def _described(self, items):
        kind = types.NotebookCellKind.Code
        return [types.NotebookCell(kind, each.uri) for each in items]

    def splice(self, start, count, texts):
        """Put other cells in the place of some."""
        items, gone = [self._cell(text) for text in texts], self.cells[start : start + count]
        self.cells[start : start + count] = items
        array = types.NotebookCellArrayChange(start, count, self._described(items))
        self._change(
            structure=types.NotebookDocumentCellChangeStructure(
                array, items, [types.TextDocumentIdentifier(each.uri) for each in gone]
            )
        )

    def edit(self, number, text):
        cell = self.cells[number]
        cell.version, cell.text = cell.version + 1, text
        change = types.NotebookDocumentCellContentChanges(
            types.VersionedTextDocumentIdentifier(cell.version, cell.uri),
            [types.TextDocumentContentChangeWholeDocument(text)],
        )
        self._change(text_content=[change])

    def _change(self, **cells):
        self.version += 1
        self.client.notebook_document_did_change(
            types.DidChangeNotebookDocumentParams(
                types.VersionedNotebookDocumentIdentifier(self.version, self.uri),
                types.NotebookDocumentChangeEvent(cells=types.NotebookDocumentCellChanges(**cells)),
            )
        )

    def save(self):
        self.client.notebook_document_did_save(
            types.DidSaveNotebookDocumentParams(types.NotebookDocumentIdentifier(self.uri))
        )

    def close(self):
        self.client.notebook_document_did_close(
            types.DidCloseNotebookDocumentParams(
                types.NotebookDocumentIdentifier(self.uri),
                [types.TextDocumentIdentifier(each.uri) for each in self.cells],
            )
        )

    def identifier(self, number):
        return types.TextDocumentIdentifier(self.cells[number].uri)

    async def shown(self, wanted):
        """Wait until the diagnostics, by the numbers of the cells, are as wanted; what they cover."""
        return await self.client.until(lambda: wanted(found := self.now()) and [found])

    def now(self):
        published = self.client.published
        return {
            number: [(each.code, self.covered(number, each.range)) for each in last.diagnostics]
            for number, cell in enumerate(self.cells)
            if cell.uri in published and (last := published[cell.uri][-1]).diagnostics
        }

    def covered(self, number, where):
        assert where.start.line == where.end.line
        line = self.cells[number].text.split("\n")[where.start.line]
        return line[where.start.character : where.end.character]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(serving, capabilities, tmp_path_factory):
    able = capabilities()
    able.notebook_document = types.NotebookDocumentClientCapabilities(
        types.NotebookDocumentSyncClientCapabilities()
    )
    async with serving(tmp_path_factory.mktemp("workspace"), able) as client:
        yield client


@pytest.mark.asyncio(loop_scope="module")
async def test_results_are_shown_in_the_cells_that_they_belong_to(client):
    notebook = Notebook(client, "net.ipynb", CELLS)
    [found] = await notebook.shown(lambda found: len(found) == 2)
    assert found.keys() == {3, 4}
    assert ("HL101", "self.conv(x)") in found[3]
    assert found[4] == [("HL105", "handlens_tiny")]

    hover = await client.text_document_hover_async(
        types.HoverParams(notebook.identifier(3), types.Position(7, 15))
    )
    assert notebook.covered(3, hover.range) == "self.conv(x)"
    nothing = types.HoverParams(notebook.identifier(2), types.Position(0, 3))
    assert await client.text_document_hover_async(nothing) is None
    everything = types.Range(types.Position(0, 0), types.Position(100, 0))
    hints = [
        await client.text_document_inlay_hint_async(
            types.InlayHintParams(notebook.identifier(number), everything)
        )
        for number in range(5)
    ]
    assert [[each.position.line for each in cell or ()] for cell in hints] == [
        [],
        [],
        [],
        [7, 8],
        [],
    ]
    lenses = await client.text_document_code_lens_async(
        types.CodeLensParams(notebook.identifier(4))
    )
    assert {notebook.covered(4, each.range) for each in lenses} == {"handlens_tiny"}


@pytest.mark.asyncio(loop_scope="module")
async def test_cells_come_and_go_above_a_result(client):
    notebook = Notebook(client, "cells.ipynb", CELLS)
    [first] = await notebook.shown(lambda found: len(found) == 2)
    ran = len(client.progress)
    notebook.splice(1, 1, ["print('another')\n\n", "# and one more"])
    [found] = await notebook.shown(lambda found: 5 in found)
    assert found == {4: first[3], 5: first[4]}
    notebook.edit(1, "print('another') or print('of those that are not run')")
    notebook.save()
    notebook.splice(1, 2, [])
    [found] = await notebook.shown(lambda found: 2 in found)
    assert found == {2: first[3], 3: first[4]}
    assert len(client.progress) == ran

    notebook.edit(1, "WIDTH = None")
    notebook.save()
    await notebook.shown(lambda found: any("HL301" in dict(each) for each in found.values()))
    notebook.edit(1, "WIDTH = 8")
    notebook.save()
    await notebook.shown(lambda found: found == {2: first[3], 3: first[4]})


@pytest.mark.asyncio(loop_scope="module")
async def test_a_quick_fix_edits_its_cell(client):
    notebook = Notebook(client, "fixed.ipynb", CELLS)
    await notebook.shown(bool)
    cell = notebook.cells[3].uri
    conv = next(
        each for each in client.published[cell][-1].diagnostics if each.range.start.line == 7
    )
    actions = await client.text_document_code_action_async(
        types.CodeActionParams(notebook.identifier(3), conv.range, types.CodeActionContext([conv]))
    )
    [fix] = [each for each in actions if each.title.startswith("Suppress")]
    [(uri, [edit])] = fix.edit.changes.items()
    assert uri == cell
    assert edit.range.start.line == 7
    assert "# handlens: ignore[HL101]" in edit.new_text


@pytest.mark.asyncio(loop_scope="module")
async def test_closing_a_notebook_clears_its_cells(client):
    notebook = Notebook(client, "closed.ipynb", CELLS)
    await notebook.shown(bool)
    notebook.close()
    await notebook.shown(lambda found: not found)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cell_that_does_not_parse_is_told_where_it_is(client):
    notebook = Notebook(client, "broken.ipynb", [*CELLS, "x = (1,\n  oh no)"])
    [found] = await notebook.shown(bool)
    [(number, [(code, _)])] = found.items()
    assert (number, code) == (5, "HL301")


def test_the_text_of_a_notebook_parses_where_its_cells_do():
    ast.parse(notebooks.text(CELLS))
