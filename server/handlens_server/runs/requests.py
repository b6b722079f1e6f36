"""What a worker is asked to run for a target of a document."""

from __future__ import annotations

from handlens.request import AdviceRequest, RunRequest
from handlens.targets import Target
from handlens_server.results.result import Run
from handlens_server.state import State
from handlens_server.text.documents import read


def request(
    state: State,
    run: Run,
    target: Target,
    reuse_export: bool = False,
    advise: AdviceRequest | None = None,
) -> RunRequest:
    """The request for a target, with the texts of the run and the settings of now.

    ``reuse_export`` is for another run of the same texts.
    """
    settings, documents = state.settings(run.file), state.documents
    return RunRequest(
        target,
        run.text,
        settings.recipe,
        run.project.recipe,
        (documents.root(run.file), *documents.roots),
        advise=advise,
        unsaved={file: text for file, text in run.opened.items() if text != read(file)},
        hold_export=True,
        reuse_export=reuse_export,
        memory_limit_mib=settings.memory_limit_mib,
    )
