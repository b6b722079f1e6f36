"""A forked run, as its worker sees it."""

from __future__ import annotations

import os
import signal
from typing import Any

from handlens.target_changes import TargetEdit
from handlens.workers import processes

INTERRUPT = signal.SIGXCPU
"""The signal that ends a run which takes too long. Few programs handle this one themselves."""

# The fields of a request that decide its export. A process has one memory limit for as long as it lives.
_EXPORTED = ("workspace", "unsaved", "memory_limit_mib")
_DECLARED = ("name", "kind", "file")


class ForkedRun:
    """A forked run, as the worker sees it. The process may outlive the run, to hold its export."""

    def __init__(
        self,
        number: int,
        request: dict[str, Any],
        process: int,
        pipe: int,
        control: int,
        stack: int,
    ) -> None:
        self.number = number
        self.request = request
        self.process = process
        self.pipe = pipe
        self.control = control
        """The pipe by which a process that holds an export gets the next request."""
        self.stack = stack
        """The pipe to which the process writes its stack when it dies."""
        self.continuation: int | None = None
        """The process that goes on from the export, if the export is held."""
        self.idle = False
        """True if that process has ended, and the one that holds the export waits for another request."""
        self.resumed = False
        """True if the process was handed another request and has not begun with it."""
        self.pending = bytearray()
        self.ended = False
        """True after the run's last event: its report, or that it was cancelled."""
        self.killed = False
        self.model: str | None = None
        """The digest of what was exported, if the process holds that and others can make it again."""
        self.holder: ForkedRun | None = None
        """The run whose export this one makes batches for, if the model turns out to be the same."""
        self.data: int | None = None
        """The file of the batches that replace the export's: those for ``holder``, or what that has got."""

    @property
    def holds_export(self) -> bool:
        """True if the process can be handed another request."""
        return self.ended and not self.killed and (self.idle or self.continuation is not None)

    def has_export_of(self, request: dict[str, Any]) -> bool:
        """True if the export that ``request`` asks for is the one of this run, whatever the options.

        One of the same text must be asked for: a model may be another one each time it is made.
        """
        if self.request.get("text") == request.get("text"):
            mine = self.request
            is_wanted = bool(request.get("reuse_export")) and mine["target"] == request["target"]
            return is_wanted and self._has_surroundings_of(request)
        edit = self._edit(request)
        return edit is not None and bool(edit.options) and not edit.data

    def may_have_export_of(self, request: dict[str, Any]) -> bool:
        """True if the export is the one that ``request`` asks for if the target makes the same model."""
        edit = None if self.model is None else self._edit(request)
        return edit is not None and edit.data

    def _edit(self, request: dict[str, Any]) -> TargetEdit | None:
        """What happened to the target; None if more has changed than that."""
        before, after = self.request.get("text"), request.get("text")
        if before is None or after is None:
            return None
        if not (self._has_surroundings_of(request) and self.has_target_of(request)):
            return None
        return TargetEdit.between(before, after, request["target"]["name"])

    def _has_surroundings_of(self, request: dict[str, Any]) -> bool:
        return all(self.request.get(key) == request.get(key) for key in _EXPORTED)

    def has_target_of(self, request: dict[str, Any]) -> bool:
        """True if ``request`` is for the target of this run, wherever that is declared by now."""
        return all(self.request["target"][key] == request["target"][key] for key in _DECLARED)

    def kill(self) -> None:
        """Kill the process, and everything it has started. The process must not have been waited for."""
        processes.kill_group(self.process)
        # The process may not have made its own group yet.
        os.kill(self.process, signal.SIGKILL)
        if self.continuation is not None:
            processes.kill_group(self.continuation)
            self.continuation = None
        # The process exists until it is waited for, but no run can go on from it any more.
        self.killed = True

    def close(self) -> None:
        """Close the worker's ends of the pipes."""
        for fd in (self.pipe, self.control, self.stack):
            os.close(fd)
        self.replace_data(None)

    def replace_data(self, data: int | None) -> None:
        """Own another file of batches, or none."""
        if self.data is not None:
            os.close(self.data)
        self.data = data
