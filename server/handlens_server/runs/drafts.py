"""Drafts of targets: a worker finds out how a model class of a document can be run."""

from __future__ import annotations

from handlens.report import Draft
from handlens.request import RunRequest
from handlens.targets import Target
from handlens.workers.client import WorkerUnusable
from handlens_server.state import State
from handlens_server.text.documents import Document, read

# Nobody waits longer for a draft.
_DEADLINE_S = 60.0


async def find(state: State, document: Document, model: str) -> Draft:
    """The draft of a target for a model class, which says what is missing where none was found."""
    file = document.file
    assert file is not None
    await state.configured.wait()
    settings, documents = state.settings(file), state.documents
    root = documents.root(file)
    others = {each.file: each.source for each in documents.open if each.file and each.is_python}
    request = RunRequest(
        Target(model, "draft", file),
        document.source,
        workspace=(root, *documents.roots),
        unsaved={
            each: text for each, text in others.items() if each != file and text != read(each)
        },
        memory_limit_mib=settings.memory_limit_mib,
    )
    try:
        worker = await state.pool.worker(settings.interpreter, root, settings.workers)
        report = await worker.run(request, lambda stage: None, _DEADLINE_S)
    except WorkerUnusable as problem:
        return Draft("", missing=str(problem))
    if report.draft is None:
        return Draft("", missing=report.error.message if report.error else "nothing was found")
    return report.draft
