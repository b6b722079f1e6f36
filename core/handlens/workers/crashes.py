"""Finds the line at which the process of a run died, or was made to end.

``faulthandler`` writes the stack from within the signal handler, so it works in an endless loop in C, in a
deadlock, and after a stack overflow.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import itertools
import os
import re

from handlens.report import Span
from handlens.request import RunRequest
from handlens.shown_files import shown_by
from handlens.source_text import read

_BEGINNING = "(most recent call first):\n"
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def watch(pipe: int) -> None:
    """Have any signal that kills this process, except SIGKILL, write the stack to ``pipe`` first.

    No core is dumped: it would put gigabytes into the folder that the user works in.
    """
    # Windows has neither core dumps nor this module.
    with contextlib.suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    faulthandler.enable(pipe, all_threads=False)


def line(stack: str, request: RunRequest) -> Span | None:
    """The innermost line of a written stack that is in a file which may show findings."""
    is_shown = shown_by(request)
    for file, number, function in _FRAME.findall(stack.rpartition(_BEGINNING)[2]):
        file = _ESCAPED.sub(lambda match: chr(int("".join(filter(None, match.groups())), 16)), file)
        if is_shown(file):
            text = _text(request, file, int(number))
            column = len(text) - len(text.lstrip())
            end_column = max(len(text.rstrip()), column + 1)
            return Span(file, int(number), column, int(number), end_column, function)
    return None


def _text(request: RunRequest, file: str, number: int) -> str:
    text = request.unsaved.get(file)
    if file == os.path.abspath(request.target.file):
        text = request.text
    try:
        text = read(file) if text is None else text
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""
    return next(itertools.islice(io.StringIO(text, newline=None), number - 1, None), "")
