"""Which of the source lines that an op comes from is shown to the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handlens.report import Span


@dataclass(frozen=True)
class Places:
    """The files of a workspace, and where its target is declared."""

    in_workspace: Callable[[str], bool]
    declaration: Span

    def shown(self, spans: tuple[Span, ...]) -> Span | None:
        """The innermost span of a chain of calls that is in the workspace; None if there is none."""
        return next((span for span in spans if self.in_workspace(span.file)), None)

    def of(self, spans: tuple[Span, ...]) -> tuple[tuple[Span, ...], int]:
        """The chain of calls of an op without repetitions, and the index of the span that is shown.

        If the whole model is in a library, the declaration of the target is appended and shown.
        """
        spans = tuple(dict.fromkeys(spans))
        shown = self.shown(spans)
        if shown is None:
            return (*spans, self.declaration), len(spans)
        return spans, spans.index(shown)
