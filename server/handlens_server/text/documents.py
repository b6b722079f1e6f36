"""The texts of files: those of the editor where they are open, else those on disk."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lsprotocol import types
from pygls.uris import from_fs_path, to_fs_path
from pygls.workspace import TextDocument, Workspace

from handlens import source_text
from handlens.report import Span
from handlens.source_text import split_lines
from handlens_server.text import notebooks, positions

# Clients take a character behind the end of a line for its end.
_END_OF_LINE = (1 << 31) - 1


@dataclass(frozen=True)
class Part:
    """Some lines of a text as the client has them: a whole document, or one cell of a notebook."""

    uri: str
    version: int | None = None
    first: int = 0
    """The number of the first line, from 0."""
    last: int = sys.maxsize
    """The number of the line behind the last one."""

    def range(self, whole: types.Range) -> types.Range | None:
        """A range of the whole text as one of this part; None if it is not in it."""
        if not self.first <= whole.start.line <= whole.end.line < self.last:
            return None
        if self.first == 0:
            return whole
        start, end = whole.start, whole.end
        return types.Range(
            types.Position(start.line - self.first, start.character),
            types.Position(end.line - self.first, end.character),
        )


class Document(TextDocument):
    """A text document with the line ends of the protocol.

    The documents of pygls have the line ends of ``str.splitlines``: an edit below a form feed changes the
    wrong text. A document that was found by the uri of a notebook's cell is the whole notebook, and its
    positions are those of the cell.
    """

    def __init__(self, *arguments: Any, file: str | None, part: Part | None = None, **options: Any):
        super().__init__(*arguments, **options)
        self.file = file
        """The path of the document. It is invented for an untitled one, and None for other kinds."""
        self._part = part

    @cached_property
    def real_file(self) -> str | None:
        """The path behind symbolic links, as they were when this was first read."""
        return self.file and os.path.realpath(self.file)

    @property
    def lines(self) -> tuple[str, ...]:
        return split_lines(self.source)

    @property
    def part(self) -> Part:
        """The part that the client's positions refer to."""
        return self._part or Part(self.uri, self.version)

    @property
    def encoding(self) -> str:
        return self.position_codec.encoding or "utf-16"

    def place(self, position: types.Position) -> tuple[int, int]:
        """The 1-based line and the 0-based code point of a position."""
        line = min(position.line + self.part.first, self.part.last - 1)
        at = types.Position(line, position.character)
        return positions.from_position(at, self.lines, self.encoding)

    def range(self, span: Span) -> types.Range | None:
        """The range of a span; None if it is in another part."""
        return self.part.range(positions.to_range(span, self.lines, self.encoding))

    @property
    def is_untitled(self) -> bool:
        return self.uri.startswith("untitled:")

    @property
    def is_notebook(self) -> bool:
        return self._part is not None

    @property
    def is_unsaved(self) -> bool:
        """True if the text on disk is not the text in the editor."""
        return not self.is_notebook and self.file is not None and read(self.file) != self.source

    @property
    def is_python(self) -> bool:
        return self.language_id == "python" or self.uri.endswith(".py")

    def _apply_incremental_change(self, change: types.TextDocumentContentChangePartial) -> None:
        ends = change.range.start, change.range.end
        start, end = sorted(positions.offset(each, self.lines, self.encoding) for each in ends)
        self._source = self.source[:start] + change.text + self.source[end:]


class Documents(Workspace):
    """The open documents and the workspace folders."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._notebooks: dict[str, tuple[object, dict[str, Document]]] = {}
        """By the uri of a notebook, the cells that it was made from, and its document for each cell."""

    def _create_text_document(
        self,
        doc_uri: str,
        source: str | None = None,
        version: int | None = None,
        language_id: str | None = None,
    ) -> Document:
        return Document(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            sync_kind=self._sync_kind,
            position_codec=self.position_codec,
            file=self._file(doc_uri),
        )

    def _file(self, uri: str) -> str | None:
        scheme, _, name = uri.partition(":")
        if scheme != "untitled":
            return path_of(uri)
        # It will most likely be saved in the first folder, and imports what lies there.
        path = os.path.join((*self.roots, tempfile.gettempdir())[0], unquote(name))
        return path if _can_exist(path) else None

    @property
    def encoding(self) -> str:
        """The position encoding that client and server agreed on."""
        return self.position_encoding or "utf-16"

    @property
    def open(self) -> list[Document]:
        """Every open document. A notebook is one document, and its cells are none."""
        documents = [
            each
            for uri, each in self.text_documents.items()
            if isinstance(each, Document) and uri not in self._cell_in_notebook
        ]
        cells = (self._cells(uri) for uri in self.notebook_documents)
        return documents + [next(iter(each.values())) for each in cells if each]

    def find(self, uri: str) -> Document | None:
        """The open document with a uri, however the client quotes it."""
        uri = unquote(uri)
        notebook = self._cell_in_notebook.get(uri, uri)
        if notebook in self.notebook_documents:
            cells = self._cells(notebook)
            return cells.get(uri) or next(iter(cells.values()), None)
        document = self.text_documents.get(uri)
        return document if isinstance(document, Document) else None

    def on_disk(self, uri: str) -> Document | None:
        """A Python file as a document, though it is not open; None if it cannot be read."""
        file = path_of(uri)
        text = read(file) if file is not None and file.endswith(".py") else None
        return None if text is None else self._create_text_document(uri, text)

    def at(self, file: str) -> Document | None:
        """The open document of a file, even if one of the two paths has a symbolic link."""
        # This is quick, and nearly always enough; there may be thousands of documents.
        likely = self.text_documents.get(f"file://{file}")
        if isinstance(likely, Document) and likely.file == file:
            return likely
        opened = self.open
        real = os.path.realpath(file)
        found = (each for each in opened if each.file == file)
        linked = (each for each in opened if each.real_file == real)
        return next(found, None) or next(linked, None)

    def text(self, file: str) -> str | None:
        """The text of a file in the editor, or on disk if it is not open; None if it cannot be read."""
        document = self.at(file)
        return read(file) if document is None else document.source

    def parts(self, file: str) -> list[Part]:
        """The parts of a file, with the client's own uris: clients compare uris as text."""
        document = self.at(file)
        if document is None:
            return [Part(from_fs_path(file) or "")]
        if document.is_notebook:
            return [each.part for each in self._cells(unquote(document.uri)).values()]
        return [document.part]

    def location(self, file: str, where: types.Range) -> types.Location | None:
        """Where the client has a range of a file's text; None if no cell of a notebook has it."""
        for part in self.parts(file):
            if (found := part.range(where)) is not None:
                return types.Location(part.uri, found)
            if where.start == where.end == types.Position(part.last, 0):
                # The end of a cell, whose last line need not have a line end.
                end = types.Position(part.last - 1 - part.first, _END_OF_LINE)
                return types.Location(part.uri, types.Range(end, end))
        return None

    def locate(self, span: Span, text: str) -> types.Location | None:
        """Where the client has a span of ``text``, which is that of the span's file."""
        where = positions.to_range(span, split_lines(text), self.encoding)
        return self.location(span.file, where)

    def _cells(self, uri: str) -> dict[str, Document]:
        """By the uris of a notebook's code cells, the notebook with the positions of that cell."""
        notebook = self.notebook_documents[uri]
        found = (self.text_documents.get(unquote(each.document)) for each in notebook.cells)
        cells = [each for each in found if isinstance(each, Document) and each.is_python]
        made_from = [(each.uri, each.version, each.source) for each in cells]
        known = self._notebooks.get(uri)
        if known is not None and known[0] == made_from:
            return known[1]
        whole = notebooks.text(each.source for each in cells)
        views: dict[str, Document] = {}
        first = 0
        for each in cells:
            last = first + notebooks.height(each.source)
            views[unquote(each.uri)] = Document(
                notebook.uri,
                source=whole,
                version=notebook.version,
                language_id="python",
                position_codec=self.position_codec,
                file=path_of(notebook.uri),
                part=Part(each.uri, each.version, first, last),
            )
            first = last
        self._notebooks[uri] = made_from, views
        return views

    def root(self, file: str) -> str:
        """The workspace folder that a file is in; the folder of the file if it is in none."""
        inside = [each for each in self.roots if Path(each) in Path(file).parents]
        return max(inside, key=len, default=str(Path(file).parent))

    @property
    def roots(self) -> list[str]:
        """The paths of the workspace folders."""
        paths = [path_of(folder.uri) for folder in self.folders.values()]
        return [path.rstrip("/") for path in paths or [self.root_path] if path]


def path_of(uri: str) -> str | None:
    """The path in the uri of a file; None if there is none, or no file can have it."""
    try:
        path = to_fs_path(uri)
    except ValueError:
        return None
    return path if path is not None and _can_exist(path) else None


def _can_exist(path: str) -> bool:
    """True if a file may have this path. For other paths, the system raises something else than OSError."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def read(file: str) -> str | None:
    """The text of a file on disk with its own line ends, decoded as Python would decode it.

    None for a file that cannot be read or decoded.
    """
    try:
        return source_text.decode(Path(file).read_bytes())
    except (OSError, SyntaxError, UnicodeError):
        return None
