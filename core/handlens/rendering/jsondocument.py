"""Reports as JSON for other programs: the document of ``handlens.report``, indented."""

from __future__ import annotations

from handlens.report import Document, dump


def render(document: Document) -> str:
    """The document as JSON text in ASCII, with a newline at the end."""
    return dump(document, indent=2) + "\n"
