"""What the process of a run does, however it was made: it executes a request, and sends events.

The user's code is executed in this process and nowhere else, and may do whatever it likes to the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch

from handlens.dataclass_json import from_json, to_json
from handlens.distributed.ranks import Ranks
from handlens.report import Advice, Report
from handlens.request import Progress, RunRequest
from handlens.session import Session
from handlens.switches import may_hold_exports
from handlens.unchanged import Earlier
from handlens.workers import wire
from handlens.workers.files_read import FilesRead, have_changed


class Voice:
    """Sends a run's events, unless the user's code has forked the process."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._opened = os.fstat(pipe)
        self._process = os.getpid()

    def pass_on(self) -> None:
        """Let this process send the events from now on; our own code has forked it."""
        self._process = os.getpid()

    def say(self, event: str, run: int, **details: object) -> None:
        if os.getpid() != self._process:
            # The user's code forked this process, which came back to our code as if it were the run.
            os._exit(0)
        if not os.path.samestat(os.fstat(self._pipe), self._opened):
            # The number of our pipe belongs to a file of the user's now.
            raise OSError("the model has closed a pipe that is not its own")
        wire.write(self._pipe, {"event": event, "run": run, **details})


class Execution:
    """The execution of a request."""

    def __init__(
        self,
        number: int,
        request: dict[str, Any],
        voice: Voice,
        earlier: Mapping[str, bytes] | None = None,
    ) -> None:
        """``earlier`` has the events with which earlier runs ended, by what decided their reports."""
        self.number = number
        self.request = from_json(RunRequest, request)
        self._text = self.request.text
        self._voice = voice
        if self.request.memory_limit_mib is not None:
            _limit_memory(self.request.memory_limit_mib)
        may_hold = self.request.hold_export and may_hold_exports()
        self.read = FilesRead() if may_hold else None
        """The files that decide the export; None if it is not to be held."""
        shard = self.request.shard
        ranks = None if shard is None else Ranks(shard)
        self._earlier = earlier or {}
        self._batches: str | None = None
        recall = None if earlier is None else self._recall
        self.session = Session(
            self.request, self._on_stage, self._on_progress, ranks, self._on_note, recall
        )

    def go_on_with(self, number: int, request: dict[str, Any], batches: str | None = None) -> None:
        """Have what follows belong to another run, which has the same export.

        ``batches`` is the file with those of this run; None if they are the same, too.
        """
        self.number = number
        self.request = from_json(RunRequest, request)
        self._batches = batches

    @property
    def has_other_batches(self) -> bool:
        """True if the batches are not those of the run that made the export."""
        return self._batches is not None

    def write_batches(self, read: FilesRead, file: int) -> bool:
        """Write what the target gives beside its model, its batches above all, for another process.

        Returns False if that process cannot have them.
        """
        self.note_files(read)
        beside_model = self.session.beside_model()
        if beside_model is None:
            return False
        with open(file, "wb", closefd=False) as opened:
            torch.save((beside_model, read.known), opened)
        return True

    def _read_batches(self) -> dict[str, Any] | None:
        """What another process has written; None if nothing, or if it would write other things by now."""
        if self._batches is None:
            return None
        with open(self._batches, "rb") as opened:
            beside_model, known = torch.load(opened, weights_only=False)
        return None if have_changed(known) else beside_model

    def note_files(self, read: FilesRead) -> None:
        """Note all files that decided the export."""
        target, text = self.request.target, self.request.text
        read.add(self.session.files(), but=None if text is None else os.path.abspath(target.file))

    def compare(self) -> Report | None:
        """What follows the export; None if the model has to be exported for this request."""
        if self.request.text == self._text:
            report: Report | None = self.session.compare(self.request)
        else:
            report = self.session.compare_edited(self.request, self._read_batches())
        return report if report is None or self.request.advise is None else self.advise(report)

    def advise(self, report: Report) -> Report:
        """The report of the comparison before, with the advice that the request asks for."""
        assert self.request.advise is not None
        return self.session.advise(report, self.request.advise, self._on_advice)

    def send(self, report: Report, held: bool = False) -> None:
        """Send the report; ``held`` tells that the process stays, and could go on from it."""
        # The user may have replaced the streams. Once the report is sent, nobody waits for their contents.
        flush()
        decided_by = self.session.decided_by
        self._voice.say(
            "report", self.number, report=to_json(report), held=held, decided_by=decided_by
        )

    def _recall(self, digest: str) -> Earlier | None:
        if digest not in self._earlier:
            return None
        event = wire.decode(self._earlier[digest])
        try:
            return Earlier(event["decided_by"][1], from_json(Report, event["report"]))
        except ValueError:
            # The user's code may have written this event.
            return None

    def _on_stage(self, stage: str) -> None:
        self._voice.say("stage", self.number, stage=stage)

    def _on_progress(self, progress: Progress) -> None:
        self._voice.say("progress", self.number, progress=to_json(progress))

    def _on_note(self, note: str) -> None:
        self._voice.say("note", self.number, note=note)

    def _on_advice(self, advice: Advice) -> None:
        self._voice.say("advice", self.number, advice=to_json(advice))


def flush() -> None:
    """Write what Python and C have printed and not written yet."""
    streams: tuple[Any, ...] = sys.stdout, sys.stderr, sys.__stdout__
    for stream in streams:
        with contextlib.suppress(BaseException):
            stream.flush()
    ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).fflush(None)


def _limit_memory(mebibytes: int) -> None:
    """Let an allocation fail that takes this process more than ``mebibytes`` above its present size."""
    if sys.platform != "linux":
        print("handlens.memoryLimit is not kept: that takes Linux.", file=sys.stderr)
        return
    import resource

    with open("/proc/self/status") as status:
        [now] = [line.split()[1] for line in status if line.startswith("VmData:")]
    limit = int(now) * 1024 + mebibytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
