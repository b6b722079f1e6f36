"""An exception of the user's code as a failure that a report can carry: what happened, on which line."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from types import FrameType

from handlens.capture import span_of_frame
from handlens.report import Failure, Span

_LONGEST_MESSAGE = 400
_LONGEST_TRACEBACK = 50_000


def failure(
    rule: str, what: str, error: BaseException, shown: Callable[[str], bool], fallback: Span | None
) -> Failure:
    """``what`` failed with ``error``. It is shown on the innermost line in a file that is ``shown``."""
    return Failure(
        rule,
        f"{what} failed: {describe(error)}",
        _span(error, shown) or fallback,
        _traceback(error),
    )


def describe(error: BaseException) -> str:
    """The kind of an exception and the first line of what it says."""
    name = type(error).__name__
    try:
        if isinstance(error, SyntaxError):
            text = str(error.msg)
        elif isinstance(error, SystemExit):
            return f"it called sys.exit({error.code!r:.{_LONGEST_MESSAGE}})"
        else:
            text = str(error)
    except BaseException:
        return f"{name} (and its message cannot be read)"
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{name}: {first[:_LONGEST_MESSAGE]}" if first else name


def _span(error: BaseException, shown: Callable[[str], bool]) -> Span | None:
    for each in _chain(error):
        if isinstance(each, SyntaxError) and (span := _place(each)) and shown(span.file):
            return span
        spans = [
            span_of_frame(frame.f_code.co_filename, frame.f_code, offset)
            for frame, offset in _frames(each)
            if shown(frame.f_code.co_filename)
        ]
        if spans:
            return spans[-1]
    return None


def _place(error: SyntaxError) -> Span | None:
    """Where the compiler saw it; whoever raises one himself may put anything there."""
    try:
        line, column = int(error.lineno or 1), max(int(error.offset or 1) - 1, 0)
        end_column = int(error.end_offset or 0) - 1 if error.end_lineno == line else 0
        return Span(str(error.filename), line, column, line, max(end_column, column + 1))
    except Exception:
        return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from, the last raised first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    entry = error.__traceback__
    while entry is not None:
        yield entry.tb_frame, entry.tb_lasti
        entry = entry.tb_next


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:
        text = "".join(traceback.format_tb(error.__traceback__))
    return text[-_LONGEST_TRACEBACK:]
