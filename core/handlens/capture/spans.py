"""Spans of source text, from the frames of a call or from a stack trace."""

from __future__ import annotations

import linecache
import os
import re
import sys
from functools import cache, lru_cache
from types import CodeType

import torch
import torchao

from handlens.report import Span
from handlens.shown_files import PACKAGE_FOLDERS, STANDARD_LIBRARY

# Frames in these folders show how torch executes a call, not where the user wrote it.
_MACHINERY = tuple(
    os.path.join(os.path.abspath(folder), "")
    for folder in (*torch.__path__, *torchao.__path__, os.path.dirname(os.path.dirname(__file__)))
)

Frame = tuple[str, CodeType, int]
"""File, code object, and instruction offset. Code objects of two files may be equal: the file tells."""


@cache
def is_source(file: str) -> bool:
    """True if a frame's file is source that a person may have written."""
    if file.startswith("<"):
        return False
    path = os.path.abspath(file)
    if path.startswith(STANDARD_LIBRARY) and not PACKAGE_FOLDERS.search(path):
        return False
    return not path.startswith(_MACHINERY)


# -- spans of frames -------------------------------------------------------------------------------


@cache
def span_of_frame(file: str, code: CodeType, offset: int) -> Span:
    """The span of the expression at a bytecode offset; that of its line if columns are not known."""
    if sys.version_info >= (3, 11):
        start, end, column, end_column = _positions(code)[offset // 2]
        if start is not None and end is not None and column is not None and end_column is not None:
            return Span(
                file,
                start,
                _code_points(file, start, column),
                end,
                _code_points(file, end, end_column),
                code.co_qualname,
            )
    return whole_line(file, line_of(code, offset), code.co_name)


@lru_cache(256)
def _positions(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    # Python gives the positions of all instructions only, so they are cached.
    if sys.version_info >= (3, 11):
        return list(code.co_positions())
    return []


@lru_cache(256)
def offsets_of(code: CodeType) -> dict[tuple[int | None, ...], int]:
    """The first instruction with each of the positions in ``code``."""
    offsets: dict[tuple[int | None, ...], int] = {}
    for index, positions in enumerate(_positions(code)):
        offsets.setdefault(positions, 2 * index)
    return offsets


def line_of(code: CodeType, offset: int) -> int:
    """The line of a bytecode offset."""
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return line
    return code.co_firstlineno


def _code_points(file: str, line: int, column: int) -> int:
    """Convert a column from UTF-8 bytes, which the compiler counts, to code points."""
    text = linecache.getline(file, line)
    return len(text.encode()[:column].decode(errors="ignore")) if text else column


def whole_line(file: str, line: int, function: str) -> Span:
    """A line of a file, its indentation left out."""
    text = linecache.getline(file, line).rstrip()
    indent = len(text) - len(text.lstrip())
    return Span(file, line, indent, line, max(indent, len(text)), function)


# -- spans of stack traces -------------------------------------------------------------------------

_FRAME = re.compile(r'\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>\S+)')


def spans_of_stack_trace(stack_trace: str) -> tuple[Span, ...]:
    """The lines that a stack trace names, innermost first. It does not tell where expressions end."""
    frames = map(_FRAME.match, stack_trace.splitlines())
    return tuple(
        whole_line(frame["file"], int(frame["line"]), frame["function"])
        # Code without text (generated, from a console) cannot be shown.
        for frame in reversed(list(filter(None, frames)))
        if is_source(frame["file"]) and linecache.getlines(frame["file"])
    )
