"""The server lives as long as its client does: it watches the client's process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

logger = logging.getLogger(__name__)

_POLL_S = 3.0


async def ended(process: int) -> None:
    """Wait for the end of a process that is not our child.

    Never returns for a process that cannot be seen: a client in another container is not gone.
    """
    if not _exists(process):
        logger.info("the client's process %d is not visible from here: not watched", process)
        await asyncio.get_running_loop().create_future()
    if not hasattr(os, "pidfd_open"):
        while _exists(process):
            await asyncio.sleep(_POLL_S)
        return
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        await _readable(handle)
    finally:
        os.close(handle)


async def _readable(handle: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(handle, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(handle)


def _exists(process: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True
