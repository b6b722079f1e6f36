"""From an exception to a failure in a report: what happened, and on which line."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType

from handlens.capture.spans import span_of_frame, whole_line
from handlens.report import Failure, Span

# In the message of torch's allocator.
_NO_MEMORY = "can't allocate memory"

_LONGEST_MESSAGE = 400
_LONGEST_TRACEBACK = 50_000


def failure(
    rule: str, what: str, error: BaseException, shown: Callable[[str], bool], fallback: Span | None
) -> Failure:
    """A failure whose message is ``what`` and the text of ``error``.

    It is at the innermost line that is in a ``shown`` file, or else at ``fallback``.
    """
    return Failure(
        rule,
        f"{what}: {describe(error)}",
        _span(error, shown) or fallback,
        _traceback(error),
    )


def is_out_of_memory(error: BaseException) -> bool:
    """True if Python or torch could not allocate memory."""
    return isinstance(error, MemoryError) or _NO_MEMORY in (_text(error) or "")


def describe(error: BaseException) -> str:
    """The type of an exception and the first line of its message.

    If another exception is the root cause and its text is not in that line, its type and line follow.
    """
    told, root = _told(error), None
    link = "because of"
    for before, after in itertools.pairwise(chain(error)):
        if before.__cause__ is None:
            if before.__suppress_context__ and not _is_of_dynamo(before):
                # ``raise … from None`` asks to leave out the rest.
                break
            link = "raised while handling"
        root = after
    if root is None or (_text(root) or type(root).__name__) in told:
        return told
    return f"{told} ({link} {_told(root)})"


def _told(error: BaseException) -> str:
    name, text = type(error).__name__, _text(error)
    if text is None:
        return f"{name} (and its message cannot be read)"
    if isinstance(error, SystemExit):
        return text
    return f"{name}: {text}" if text else name


def _text(error: BaseException) -> str | None:
    """The first line of the message of an exception; None if the message cannot be read."""
    try:
        if isinstance(error, SystemExit):
            return f"it called sys.exit({error.code!r:.{_LONGEST_MESSAGE}})"
        text = str(error.msg) if isinstance(error, SyntaxError) else str(error)
    except BaseException:
        return None
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first[:_LONGEST_MESSAGE]


def _span(error: BaseException, shown: Callable[[str], bool]) -> Span | None:
    for each in chain(error):
        if isinstance(each, SyntaxError) and (span := _place(each)) and shown(span.file):
            return span
        spans = [
            span_of_frame(entry.tb_frame.f_code.co_filename, entry.tb_frame.f_code, entry.tb_lasti)
            for entry in frames(each)
            if shown(entry.tb_frame.f_code.co_filename)
        ]
        if spans:
            return spans[-1]
        for entry in reversed(getattr(each, "real_stack", ())) if _is_of_dynamo(each) else ():
            if shown(entry.filename):
                return whole_line(entry.filename, entry.lineno, entry.name)
    return None


def _is_of_dynamo(error: BaseException) -> bool:
    """True if Dynamo raised an exception.

    The traceback does not have the lines that Dynamo was executing, and ``from None`` may hide a reason.
    """
    return type(error).__module__.startswith("torch._dynamo")


def _place(error: SyntaxError) -> Span | None:
    """Where the compiler found it; None if a user's code raised it with attributes of other types."""
    try:
        line, column = int(error.lineno or 1), max(int(error.offset or 1) - 1, 0)
        end_column = int(error.end_offset or 0) - 1 if error.end_lineno == line else 0
        return Span(str(error.filename), line, column, line, max(end_column, column + 1))
    except Exception:
        return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was raised from, the last raised first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def frames(error: BaseException) -> Iterator[TracebackType]:
    """The traceback entries of an exception, outermost first."""
    entry = error.__traceback__
    while entry is not None:
        yield entry
        entry = entry.tb_next


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:
        text = "".join(traceback.format_tb(error.__traceback__))
    return text[-_LONGEST_TRACEBACK:]
