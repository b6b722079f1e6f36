"""The texts of files, open and closed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from handlens.source_text import split_lines
from handlens_server.text import documents, positions
from handlens_server.text.documents import Documents

texts = st.text(st.sampled_from("ab\té😀\n\r\f\u2028"), max_size=30)


def workspace(
    root: str = "/project",
    encoding: types.PositionEncodingKind | str = types.PositionEncodingKind.Utf16,
    **open_texts: str,
) -> Documents:
    folder = types.WorkspaceFolder(f"file://{root}", "project")
    made = Documents(f"file://{root}", workspace_folders=[folder], position_encoding=encoding)
    for name, text in open_texts.items():
        uri = f"file://{root}/{name}.py"
        made.put_text_document(types.TextDocumentItem(uri, "python", 1, text))
    return made


@given(texts, texts, st.data())
def test_an_edit_changes_the_text_that_it_means(before: str, inserted: str, data: Any) -> None:
    encoding = data.draw(st.sampled_from(list(types.PositionEncodingKind)))
    start = data.draw(st.integers(0, len(before)))
    end = data.draw(st.integers(start, len(before)))
    # No editor puts a cursor between the two halves of a line end.
    if "\r\n" in (before[start - 1 : start + 1], before[end - 1 : end + 1]):
        return
    lines = split_lines(before)

    def position(offset: int) -> types.Position:
        for number, line in enumerate(lines, 1):
            if offset <= len(line.rstrip("\r\n")):
                return positions.to_position(number, offset, lines, encoding)
            offset -= len(line)
        raise AssertionError

    document = workspace(encoding=encoding, model=before).find("file:///project/model.py")
    change = types.Range(position(start), position(end))
    document.apply_change(types.TextDocumentContentChangePartial(change, inserted))
    assert document.source == before[:start] + inserted + before[end:]


def test_an_edit_past_the_end_of_a_line_stays_in_the_line() -> None:
    made = workspace(model="ab\ncd")
    document = made.find("file:///project/model.py")
    for line, text in ((0, "!"), (1, "?")):
        end = types.Position(line, 99)
        document.apply_change(types.TextDocumentContentChangePartial(types.Range(end, end), text))
    assert document.source == "ab!\ncd?"


def test_a_document_is_found_however_its_uri_is_quoted() -> None:
    made = workspace(**{"a b+c": ""})
    assert made.find("file:///project/a%20b%2Bc.py") is made.find("file:///project/a b+c.py")
    assert made.find("file:///project/other.py") is None
    [part], [closed] = made.parts("/project/a b+c.py"), made.parts("/project/other file.py")
    assert part.uri == "file:///project/a b+c.py", "as the client has it"
    assert closed.uri == "file:///project/other%20file.py"


def test_a_document_is_found_by_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    made = workspace(str(tmp_path / "link"), model="")
    assert made.at(str(tmp_path / "real" / "model.py")) is made.open[0]


def test_the_root_of_a_file_is_the_innermost_workspace_folder() -> None:
    made = workspace()
    made.add_folder(types.WorkspaceFolder("file:///project/inner", "inner"))
    assert made.root("/project/inner/m.py") == "/project/inner"
    assert made.root("/project/inner2/m.py") == "/project"
    assert made.root("/elsewhere/m.py") == "/elsewhere"


def test_only_python_is_python() -> None:
    made = workspace()
    for uri, language, is_python in (
        ("file:///m.py", "plaintext", True),
        ("file:///m", "python", True),
        ("file:///m.md", "markdown", False),
    ):
        made.put_text_document(types.TextDocumentItem(uri, language, 1, ""))
        assert made.find(uri).is_python is is_python


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\r\n\xc3\xa9", "a\r\né"),
        (b"# coding: latin-1\n\xe9", "# coding: latin-1\né"),
        (b"\xef\xbb\xbfa", "a"),
        (b"\xff\xfe\x00", None),
        (b"# coding: no-such-codec\n", None),
    ],
)
def test_a_file_on_disk_is_decoded_as_python_does(tmp_path: Path, data: Any, text: str) -> None:
    (tmp_path / "m.py").write_bytes(data)
    assert documents.read(str(tmp_path / "m.py")) == text


def test_a_file_that_is_not_there_has_no_text(tmp_path: Path) -> None:
    assert documents.read(str(tmp_path / "gone.py")) is None
    assert documents.read(str(tmp_path)) is None
