"""The server's commands: their ids, and how lenses, hovers and code actions refer to them."""

from __future__ import annotations

from lsprotocol import types

RERUN = "handlens.server.rerun"
CANCEL = "handlens.server.cancel"
RESTART_WORKER = "handlens.server.restartWorker"
REPORT = "handlens.server.report"
SHOW = "handlens.server.show"
SHOW_TARGETS = "handlens.server.showTargets"
DECLARE = "handlens.server.declareTarget"
ADVISE = "handlens.server.advise"
APPLY_ADVICE = "handlens.server.applyAdvice"


def rerun(title: str, uri: str) -> types.Command:
    """Run the document of ``uri``."""
    return types.Command(title, RERUN, arguments=[uri])


def cancel(title: str, uri: str) -> types.Command:
    """End the run of the document of ``uri``."""
    return types.Command(title, CANCEL, arguments=[uri])


def apply_advice(title: str, uri: str, target: str, steps: int) -> types.Command:
    """Edit a target of the document of ``uri``, so that it makes the first steps of its advice."""
    return types.Command(title, APPLY_ADVICE, arguments=[uri, target, steps])


def declare(title: str, uri: str, model: str) -> types.Command:
    """Declare a target for a model class of the document of ``uri``."""
    return types.Command(title, DECLARE, arguments=[uri, model])


def report(title: str, uri: str) -> types.Command:
    """Open the report of the document of ``uri`` as a page."""
    return types.Command(title, REPORT, arguments=[uri, "html"])


def show(title: str, where: types.Location) -> types.Command:
    """Open a document at a range."""
    start, end = where.range.start, where.range.end
    arguments = [where.uri, start.line, start.character, end.line, end.character]
    return types.Command(title, SHOW, arguments=arguments)
