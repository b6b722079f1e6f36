"""The JSON format: the whole document, for other programs to load (see ``handlens.report``)."""

from __future__ import annotations

from handlens.rendering.view import View
from handlens.report import Document, dump


def render(document: Document, view: View) -> str:
    """The document as JSON text in ASCII. It needs nothing of ``view``."""
    return dump(document, indent=2) + "\n"
