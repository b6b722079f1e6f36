"""Edits of files as the protocol has them."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from handlens import target_edits
from handlens.advice_report import Change
from handlens.source_text import split_lines
from handlens.target_edits import Additions, Edit, NoEdit
from handlens.targets import Target
from handlens_server.text import positions
from handlens_server.text.documents import Documents


def workspace_edit(documents: Documents, file: str, edit: Edit) -> types.WorkspaceEdit:
    """An edit of the present text of a file. Raises NoEdit if the client does not have the file."""
    lines, encoding = split_lines(documents.text(file) or ""), documents.encoding
    start = positions.at(edit.start, lines, encoding)
    end = positions.at(edit.end, lines, encoding)
    where = documents.location(file, types.Range(start, end))
    if where is None:
        raise NoEdit(f"{file} cannot be edited here")
    return types.WorkspaceEdit(changes={where.uri: [types.TextEdit(where.range, edit.text)]})


def location(
    documents: Documents, file: str, edit: Edit, start: int, end: int
) -> types.Location | None:
    """Where the characters from ``start`` to ``end`` of an edit's text are once it is made."""
    lines = split_lines(edit.apply(documents.text(file) or ""))
    first = positions.at(edit.start + start, lines, documents.encoding)
    last = positions.at(edit.start + end, lines, documents.encoding)
    return documents.location(file, types.Range(first, last))


def with_changes(
    documents: Documents, target: Target, changes: Sequence[Change]
) -> types.WorkspaceEdit:
    """An edit of a target's declaration that makes changes to how it is quantized. Raises NoEdit."""
    # The target is declared in the document that was run, which may be another one.
    file = target_edits.declaring_file(target)
    text = documents.text(file) or ""
    return workspace_edit(documents, file, target_edits.add(text, target, Additions.of(changes)))
