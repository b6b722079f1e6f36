"""A process and what it has started, as one thing that can be killed: a process group, a job on Windows."""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "win32":
    from handlens.workers.windows_jobs import Job as Group
else:
    from handlens.workers import processes

    class Group:
        """The group of a process that was started with ``OPTIONS``."""

        OPTIONS: dict[str, Any] = {"start_new_session": True}  # noqa: RUF012

        def __init__(self, process: int) -> None:
            self._process = process

        def add(self, process: int) -> None:
            """Have a process belong to the group, which it does if the one that started it does."""

        def kill(self) -> None:
            """Kill the process, while it has not been waited for, and what it has started."""
            # Once the process is dead, nobody knows any more what has left its group.
            started = processes.descendants(self._process)
            processes.kill_group(self._process)
            for each in started:
                processes.kill(each)

        def end(self) -> None:
            """Kill what is left of the group after the end of the process."""
            processes.kill_group(self._process)


__all__ = ["Group"]
