"""Splits the client's bytes into messages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import BinaryIO

# Matched at the end of a line only: behind a message that is longer than its header said, the next header
# does not begin a line. No message has a gigabyte.
_LENGTH = re.compile(rb"Content-Length:[ \t]*([0-9]{1,9})\r?\n\Z", re.IGNORECASE)
_LONGEST_LINE = 1 << 16


async def bodies(stdin: BinaryIO, executor: Executor) -> AsyncIterator[bytes]:
    """The bodies of the messages, up to the end of the input.

    Bytes that are no message are skipped up to the next header: a wrong message costs no other.
    """
    loop = asyncio.get_running_loop()
    length: int | None = None
    while line := await loop.run_in_executor(executor, stdin.readline, _LONGEST_LINE):
        if (found := _LENGTH.search(line)) is not None:
            length = int(found[1])
        elif length is not None and not line.strip():
            yield await loop.run_in_executor(executor, stdin.read, length)
            length = None
