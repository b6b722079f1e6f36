"""Decides which document is run next: first those that people look at, and each at some time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

# How often in a row the document that has waited longest is passed over.
_MOST_PASSED = 3


class Turns:
    """Gives turns to documents, as many at a time as there are ``places``."""

    def __init__(self, places: int) -> None:
        self._places = places
        """How many turns are free."""
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        """The uris of the documents that wait, those that came first in front."""
        self._passed = 0
        self._clock = itertools.count(1)
        self._looked_at: dict[str, int] = {}
        """By uri, the tick of the clock at which somebody last looked at the document."""

    def prioritize(self, uri: str) -> None:
        """Let a document go before those that nobody has looked at since.

        Clients do not say what is visible: a document that is opened, edited, or asked about is looked at.
        """
        self._looked_at[uri] = next(self._clock)

    def last_looked_at(self, uri: str) -> int:
        """A number that is higher the later somebody has looked at a document; 0 if nobody has."""
        return self._looked_at.get(uri, 0)

    def forget(self, uri: str) -> None:
        """Forget a document that is closed."""
        self._looked_at.pop(uri, None)

    @contextlib.asynccontextmanager
    async def turn(self, uri: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while this is entered."""
        await self._begin(uri)
        try:
            yield
        finally:
            self._end()

    async def _begin(self, uri: str) -> None:
        if self._places:
            # Nobody waits while a turn is free.
            self._places -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((uri, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # The turn was given to it at the same moment: pass it on.
                self._end()
            raise

    def _end(self) -> None:
        self._waiting = [each for each in self._waiting if not each[1].done()]
        if not self._waiting:
            self._places += 1
            return
        longest = self._waiting[0]
        seen = max(self._waiting, key=lambda each: self.last_looked_at(each[0]))
        chosen = longest if self._passed == _MOST_PASSED else seen
        self._passed = 0 if chosen is longest else self._passed + 1
        self._waiting.remove(chosen)
        chosen[1].set_result(None)
