"""The texts of files: the editor's where they are open, those on disk elsewhere."""

from __future__ import annotations

import io
import os
import tokenize
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from lsprotocol import types
from pygls.uris import from_fs_path, to_fs_path
from pygls.workspace import TextDocument, Workspace

from handlens_server import positions


class Document(TextDocument):
    """A text document with the protocol's line ends. pygls' own takes those of ``str.splitlines``,
    and an edit below a form feed then changes the wrong text."""

    @property
    def lines(self) -> tuple[str, ...]:
        return positions.split_lines(self.source)

    @cached_property
    def file(self) -> str | None:
        """The path of the document; None if it is not a file (``untitled:``, a notebook cell)."""
        return to_fs_path(self.uri)

    @property
    def is_unsaved(self) -> bool:
        """Whether the disk has another text than the editor."""
        return self.file is not None and read(self.file) != self.source

    @property
    def is_python(self) -> bool:
        return self.language_id == "python" or self.uri.endswith(".py")

    def _apply_incremental_change(self, change: types.TextDocumentContentChangePartial) -> None:
        lines, encoding = self.lines, self.position_codec.encoding or "utf-16"
        start = positions.offset(change.range.start, lines, encoding)
        end = positions.offset(change.range.end, lines, encoding)
        self._source = self.source[:start] + change.text + self.source[end:]


class Documents(Workspace):
    """The open documents and the workspace folders."""

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
        )

    @property
    def encoding(self) -> str:
        """The position encoding that client and server agreed on."""
        return self.position_encoding or "utf-16"

    @property
    def open(self) -> list[Document]:
        return [each for each in self.text_documents.values() if isinstance(each, Document)]

    def find(self, uri: str) -> Document | None:
        """The open document of a uri, however the client quotes it."""
        document = self.text_documents.get(unquote(uri))
        return document if isinstance(document, Document) else None

    def at(self, file: str) -> Document | None:
        """The open document of a file, also where one of both is reached by a symbolic link."""
        for document in self.open:
            if document.file == file:
                return document
        real = os.path.realpath(file)
        for document in self.open:
            if document.file is not None and os.path.realpath(document.file) == real:
                return document
        return None

    def uri(self, file: str) -> str:
        """The uri of a file; its document's if it is open, as clients compare uris as text."""
        document = self.at(file)
        return document.uri if document else from_fs_path(file) or ""

    def root(self, file: str) -> str:
        """The workspace folder that a file is in, or its own folder if it is in none."""
        inside = [each for each in self.roots if Path(each) in Path(file).parents]
        return max(inside, key=len, default=str(Path(file).parent))

    @property
    def roots(self) -> list[str]:
        """The paths of the workspace folders."""
        paths = [to_fs_path(folder.uri) for folder in self.folders.values()]
        return [path.rstrip("/") for path in paths or [self.root_path] if path]


def read(file: str) -> str | None:
    """The text of a file on disk with the line ends it has, decoded as Python would decode it.

    None for a file that cannot be read or decoded.
    """
    try:
        data = Path(file).read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (OSError, SyntaxError, UnicodeError):
        return None
