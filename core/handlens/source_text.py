"""The text of Python files, decoded as Python decodes it."""

from __future__ import annotations

import io
import tokenize


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
