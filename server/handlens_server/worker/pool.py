"""The workers of the server: one for each workspace folder, in the interpreter chosen for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from handlens.switches import Workers
from handlens.workers.client import Worker, WorkerUnusable
from handlens_server.worker import interpreter
from handlens_server.worker.host import Host


class Pool:
    """Gives each run the worker of its folder, started and ready."""

    def __init__(
        self, on_output: Callable[[str], None], on_unusable: Callable[[str], None]
    ) -> None:
        self._on_output = on_output
        self._on_unusable = on_unusable
        """Called once for each interpreter that is unusable, and again if it was usable in between."""
        self._hosts: dict[str, Host] = {}
        """The hosts by workspace folder."""
        self._problems: dict[str, str] = {}
        """By interpreter, the reason why it is unusable."""
        self._closing: set[asyncio.Task[None]] = set()

    async def worker(self, setting: str | None, root: str, workers: Workers) -> Worker:
        """The worker for files under ``root``. Raises WorkerUnusable."""
        python = interpreter.choose(setting, root)
        # The user's code opens files by relative paths, so each folder has its own worker.
        host = self._hosts.get(root)
        if host is None or (host.interpreter, host.workers) != (python, workers):
            if host is not None:
                # Without awaiting it: meanwhile, another document of the folder would close the host again.
                self._close(host)
            host = self._hosts[root] = Host(python, root, self._on_output, workers)
        try:
            worker = await host.worker()
        except WorkerUnusable as problem:
            if python not in self._problems:
                self._problems[python] = str(problem)
                self._on_unusable(str(problem))
            raise
        self._problems.pop(python, None)
        return worker

    def problem(self, root: str) -> str | None:
        """The reason why files under ``root`` have no worker; None if they have one or needed none yet."""
        host = self._hosts.get(root)
        return self._problems.get(host.interpreter) if host else None

    def remarks(self, root: str) -> tuple[str, ...]:
        """What to know of the versions that files under ``root`` run with; nothing before the first run."""
        host = self._hosts.get(root)
        return host.remarks if host else ()

    async def close(self) -> None:
        """End every worker; the next run starts a new one."""
        hosts, self._hosts = list(self._hosts.values()), {}
        for host in hosts:
            self._close(host)
        await asyncio.gather(*self._closing)

    def _close(self, host: Host) -> None:
        """Close a host in a task of its own, so that cancelling the run does not interrupt it."""
        task = asyncio.create_task(host.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
