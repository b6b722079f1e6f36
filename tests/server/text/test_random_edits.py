"""Through whatever is typed, what is shown stays with the source that it was measured on, or goes."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types
from tests.server.conftest import UNITS

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTE = re.compile(r"\*Measured before the last edits of this file\.\*\s+---\s+")
DECIBELS = re.compile(r"(-?\d+\.\d) dB")

TYPED = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "\n",
            "\r\n",
            "\t",
            "x",
            "(",
            ")",
            "#",
            "  # é🙂\n",
            "x = block(x)\n",
            '"""',
            "\\\n",
        ]
    ),
    st.sampled_from(["self.conv(x)", "# handlens: ignore\n", "\n\n\n", "    ", "\f", "🙂"]),
    st.text(max_size=5),
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), TYPED), min_size=1, max_size=4)


def code(text):
    """What two pieces of source have in common that differ in layout only."""
    try:
        return ast.dump(ast.parse(f"({text}\n)"))
    except (SyntaxError, ValueError):
        return text


class Shown:
    """A document with results, and what its client shows of it."""

    def __init__(self, client, document):
        self.client = client
        self.document = document
        self.base = document.text

    async def measure(self):
        """Remember what is shown of the text that was run."""
        document = self.document
        await self.client.rerun(document)
        await self.client.diagnostics(document)
        self.diagnostics = await self.client.shows(document)
        self.pieces = defaultdict(set)
        for each in self.diagnostics:
            self.pieces[each.code, each.message].add(code(self.covered(each.range)))
        self.hints = await self.ask_hints()
        self.hovers = defaultdict(set)
        for line, text in enumerate(self.base.splitlines()):
            for column in range(len(text)):
                if (hover := await self.hover(types.Position(line, column))) is not None:
                    piece = code(self.covered(hover.range))
                    self.hovers[hover.contents.value].add(piece)
        assert len(self.diagnostics) > 2
        assert len(self.hints) > 1
        assert len(self.hovers) > 2

    async def ask_hints(self):
        end = types.Position(self.document.text.count("\n") + 2, 0)
        found = await self.client.text_document_inlay_hint_async(
            types.InlayHintParams(self.document.identifier, types.Range(types.Position(0, 0), end))
        )
        return {each.position.line: each.label.removesuffix(" (stale)") for each in found}

    async def hover(self, position):
        found = await self.client.hover(self.document, position)
        if found is not None:
            found.contents.value = NOTE.sub("", found.contents.value)
        return found

    def edit(self, where, length, typed):
        """Replace some characters, told as the client counts them."""
        text = self.document.text
        start, end = (
            # There is no position between the two characters of a line end.
            each + (text[each - 1 : each + 1] == "\r\n")
            for each in (
                round(where * len(text)),
                min(round(where * len(text)) + length, len(text)),
            )
        )
        span = types.Range(self.position(start), self.position(end))
        self.document.version += 1
        self.document.text = text[:start] + typed + text[end:]
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self.document.version, self.document.uri),
                [types.TextDocumentContentChangePartial(span, typed)],
            )
        )

    def position(self, offset):
        *before, line = re.split(r"\r\n|\r|\n", self.document.text[:offset])
        return types.Position(len(before), UNITS[self.client.encoding](line))

    def covered(self, where):
        """The text in a range, which must not reach out of it."""
        lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", self.document.text)
        offsets = []
        for each in (where.start, where.end):
            line = lines[each.line].rstrip("\r\n")
            count = UNITS[self.client.encoding]
            column = next(i for i in range(len(line) + 1) if count(line[:i]) == each.character)
            offsets.append(sum(map(len, lines[: each.line])) + column)
        start, end = offsets
        assert start <= end
        return self.document.text[start:end]

    async def check(self):
        """Whatever is shown is shown on what it was measured on."""
        # The answer comes behind whatever the edit made the server push.
        hints = await self.ask_hints()
        for each in await self.client.shows(self.document):
            # Typed comments suppress, and may suppress nothing.
            if each.code != "HL203":
                assert code(self.covered(each.range)) in self.pieces[each.code, each.message]
        for line, label in hints.items():
            ratios = [ratio async for start, ratio in self.hovered(line) if start.line == line]
            assert DECIBELS.search(label)[1] == min(ratios, key=float)

    async def hovered(self, line):
        """The starts and the ratios that hovers on a line show, as they showed them at first."""
        text = re.split(r"\r\n|\r|\n", self.document.text)[line]
        for column in range(0, UNITS[self.client.encoding](text), 4):
            if (hover := await self.hover(types.Position(line, column))) is not None:
                piece = code(self.covered(hover.range))
                assert piece in self.hovers[hover.contents.value]
                yield hover.range.start, DECIBELS.search(hover.contents.value)[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[False, True])
async def shown(request, serving, capabilities, tmp_path_factory, model):
    able = capabilities(request.param)
    async with serving(tmp_path_factory.mktemp("workspace"), able, run="manual") as client:
        text = model.replace("x = self.conv(x)", '_ = "é🙂\t"; x = self.conv(x)')
        shown = Shown(client, client.open("edited.py", text))
        await shown.measure()
        yield shown


@given(edits=EDITS)
@settings(max_examples=200, deadline=None, database=None)
async def test_what_is_shown_moves_with_its_source_or_goes_with_it(shown, edits):
    shown.client.change(shown.document, shown.base)
    assert await shown.ask_hints() == shown.hints
    assert await shown.client.shows(shown.document) == shown.diagnostics
    for edit in edits:
        shown.edit(*edit)
        await shown.check()
