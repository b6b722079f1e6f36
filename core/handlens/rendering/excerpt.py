"""Source text with a span of it underlined, as compilers draw it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from handlens.rendering.view import GUTTER, View, clean
from handlens.report import Span

_TAB = 4
_WIDEST = 140
_LONGEST = 6


def excerpt(span: Span, view: View, style: str) -> Iterable[Text]:
    """The source lines of a span, with the span underlined; nothing if the source is not available."""
    lines = (view.read(span.file) or "").split("\n")
    if not 1 <= span.line <= span.end_line <= len(lines):
        return
    width = len(str(span.end_line))
    yield _numbered("", width)
    if span.line == span.end_line:
        yield from _one_line(lines[span.line - 1], span, width, style)
    else:
        yield from _many_lines(lines, span, width, style)


def _numbered(number: object, width: int, *parts: tuple[str, str]) -> Text:
    return Text.assemble((f"{number:>{width}} |", GUTTER), *((" ", ""), *parts) if parts else ())


def _one_line(line: str, span: Span, width: int, style: str) -> Iterable[Text]:
    before = _display(line[: span.column])
    marked = _display(line[span.column : span.end_column], len(before))
    after = _display(line[span.end_column :], len(before) + len(marked))
    room = _WIDEST
    if cell_len(before) + cell_len(marked) > room:
        before = _last_cells(before, room // 4)
        marked = _first_cells(marked, room - room // 4)
    after = _first_cells(after, room - cell_len(before) - cell_len(marked))
    yield _numbered(span.line, width, (before + marked + after, ""))
    yield _numbered("", width, (" " * cell_len(before) + "^" * max(1, cell_len(marked)), style))


def _many_lines(lines: Sequence[str], span: Span, width: int, style: str) -> Iterable[Text]:
    """The lines of a long span, with a bar at their left that leads from its start to its end."""
    first = lines[span.line - 1]
    head = _display(first[: span.column])
    numbers: list[int | None] = list(range(span.line, span.end_line + 1))
    if len(numbers) > _LONGEST:
        numbers[_LONGEST // 2 : 1 - _LONGEST // 2] = [None]
    inline = not head.strip()
    for number in numbers:
        if number is None:
            yield Text.assemble((f"{'...':<{width + 3}}", GUTTER), ("|", style))
            continue
        side = "|" if number != span.line else "/" if inline else " "
        text = _first_cells(_display(lines[number - 1]), _WIDEST)
        yield _numbered(number, width, (f"{side} ", style), (text, ""))
        if number == span.line and not inline:
            yield _numbered("", width, (" " + "_" * (cell_len(head) + 1) + "^", style))
    tail = cell_len(_display(lines[span.end_line - 1][: span.end_column]))
    yield _numbered("", width, ("|" + "_" * min(tail, _WIDEST) + "^", style))


def _display(text: str, column: int = 0) -> str:
    """Write source text that begins at ``column`` without tabs and control characters."""
    shown = ""
    for character in text.rstrip("\r"):
        if character == "\t":
            shown += " " * (_TAB - (column + cell_len(shown)) % _TAB)
        else:
            shown += clean(character)
    return shown


def _first_cells(text: str, room: int) -> str:
    return text if cell_len(text) <= room else set_cell_size(text, max(0, room - 1)) + "…"


def _last_cells(text: str, room: int) -> str:
    if cell_len(text) <= room:
        return text
    start = len(text)
    while cell_len(text[start - 1 :]) < room:
        start -= 1
    return "…" + text[start:]
