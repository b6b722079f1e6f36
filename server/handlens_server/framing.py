"""Where the messages of a client begin and end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import BinaryIO

# At the end of a line, wherever that begins: behind a message longer than announced there is no line end
# before the header of the next one. Nobody announces a gigabyte and means it.
_LENGTH = re.compile(rb"Content-Length:[ \t]*([0-9]{1,9})\r?\n\Z", re.IGNORECASE)
_LONGEST_LINE = 1 << 16


async def bodies(stdin: BinaryIO, executor: Executor) -> AsyncIterator[bytes]:
    """The bodies of the messages, up to the end of the input.

    What is no message is skipped up to the header of the next one: one that is wrong costs no other.
    """
    loop = asyncio.get_running_loop()
    length: int | None = None
    while line := await loop.run_in_executor(executor, stdin.readline, _LONGEST_LINE):
        if (found := _LENGTH.search(line)) is not None:
            length = int(found[1])
        elif length is not None and not line.strip():
            yield await loop.run_in_executor(executor, stdin.read, length)
            length = None
