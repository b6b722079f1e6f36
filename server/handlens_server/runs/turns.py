"""Whose turn it is to run: few at once, what was looked at last before others, and nobody waits forever."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

# How often in a row the one that waits longest lets another go before.
_MOST_PASSED = 3


class Turns:
    """As many turns at a time as there are ``places``; who waits for one is known by a uri."""

    def __init__(self, places: int) -> None:
        self._places = places
        """Those that are free."""
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        """Who came first is first."""
        self._passed = 0
        self._clock = itertools.count(1)
        self._looked_at: dict[str, int] = {}
        """When somebody last looked at a document, in steps of the clock."""

    def prioritize(self, uri: str) -> None:
        """Let a document go before those that nobody has looked at since.

        Clients do not say what is visible: it is taken for what was last opened, edited, or asked about.
        """
        self._looked_at[uri] = next(self._clock)

    def forget(self, uri: str) -> None:
        """Forget a document that is closed."""
        self._looked_at.pop(uri, None)

    @contextlib.asynccontextmanager
    async def turn(self, uri: str) -> AsyncIterator[None]:
        """A turn of a document, as soon as there is one."""
        await self._begin(uri)
        try:
            yield
        finally:
            self._end()

    async def _begin(self, uri: str) -> None:
        if self._places:
            # Nobody waits while there is room.
            self._places -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((uri, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # It was given the turn at the same moment.
                self._end()
            raise

    def _end(self) -> None:
        self._waiting = [each for each in self._waiting if not each[1].done()]
        if not self._waiting:
            self._places += 1
            return
        longest = self._waiting[0]
        seen = max(self._waiting, key=lambda each: self._looked_at.get(each[0], 0))
        chosen = longest if self._passed == _MOST_PASSED else seen
        self._passed = 0 if chosen is longest else self._passed + 1
        self._waiting.remove(chosen)
        chosen[1].set_result(None)
