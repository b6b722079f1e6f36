"""Coroutines that go on by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

# The event loop holds weak references only: without these, a task may be collected before it ends.
_tasks: set[asyncio.Task[None]] = set()


def spawn(coroutine: Coroutine[Any, Any, None]) -> None:
    """Start a coroutine in the running event loop, and do not wait for it."""
    task = asyncio.create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
