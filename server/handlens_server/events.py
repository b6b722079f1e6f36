"""What happens in the server, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Generic, ParamSpec

from handlens.report import Advice, Report
from handlens.request import Progress
from handlens_server.results.result import Run

Parameters = ParamSpec("Parameters")


class Event(Generic[Parameters]):
    """Calling an event calls its subscribers, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[Parameters, None]] = []

    def subscribe(self, subscriber: Callable[Parameters, None]) -> None:
        """Have ``subscriber`` called whenever the event happens."""
        self._subscribers.append(subscriber)

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        for subscriber in self._subscribers:
            subscriber(*args, **kwargs)


class Events:
    """All events. Whoever causes one knows none of its subscribers."""

    def __init__(self) -> None:
        self.stage_entered: Event[[Run, str, str]] = Event()
        """A stage begins in the run of a target; both are given by their names."""
        self.stage_advanced: Event[[Run, Progress]] = Event()
        """The stage of a run has come so far."""
        self.target_ended: Event[[Run, bool]] = Event()
        """The run of one target is over; True if it was cancelled."""
        self.run_finished: Event[[Run, Collection[str]]] = Event()
        """A run was neither cancelled nor superseded, and is over; meanwhile these files changed."""
        self.run_failed: Event[[Report]] = Event()
        """A report with an error is shown."""
        self.search_began: Event[[Run, str]] = Event()
        """A search for advice begins behind the run of a target, given by its name."""
        self.search_advanced: Event[[Run, Advice]] = Event()
        """The search for a target of a run has found this advice so far."""
        self.search_ended: Event[[Run, bool]] = Event()
        """The search for a target of a run is over; True if it was cancelled."""

        self.findings_changed: Event[[Collection[str], str | None]] = Event()
        """The findings in some files, given by their paths, may be others. After a run, the second argument
        is the file that was run: clients are told of its findings even if there are none."""
        self.findings_moved: Event[[str]] = Event()
        """The findings in a file may be elsewhere, after an edit of it."""
        self.numbers_changed: Event[[]] = Event()
        """What hints and lenses show may be something else."""
        self.status_changed: Event[[str]] = Event()
        """What the targets of the document of a uri are doing may have changed."""

        self.documents_closed: Event[[Collection[str]]] = Event()
        """Documents, given by their uris, are not open any more."""
        self.documents_abandoned: Event[[Collection[str]]] = Event()
        """What was run of documents, given by their uris, is of no use any more: no file shows it that is
        open, or they were opened again with other texts."""
        self.worker_printed: Event[[str]] = Event()
        """A worker, or a model that it runs, printed a line."""
        self.worker_unusable: Event[[str]] = Event()
        """An interpreter cannot run a worker, for this reason."""
