"""The text of Python files, decoded as Python decodes it."""

from __future__ import annotations

import io
import tokenize
from functools import lru_cache


def read(file: str) -> str:
    r"""The text of a file, each end of a line as ``\n``.

    Raises OSError, SyntaxError for an encoding that the file declares and Python does not know, and
    UnicodeDecodeError.
    """
    with tokenize.open(file) as stream:
        return stream.read()


def decode(data: bytes) -> str:
    """The text of a file's content, with the line ends it has. Raises what ``read`` does, but OSError."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding)


@lru_cache(16)
def split_lines(text: str) -> tuple[str, ...]:
    """The lines of a text with their line ends; after the last line end comes one more, empty line.

    The protocol and Python's parser know three line ends. ``str.splitlines`` knows more: a form
    feed or U+2028 in a file would shift every line below it.
    """
    lines = io.StringIO(text, newline="").readlines()
    return (*lines,) if lines and not lines[-1].endswith(("\n", "\r")) else (*lines, "")


def common_prefix(a: str, b: str) -> int:
    """The length of the beginning that two texts have in common."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
