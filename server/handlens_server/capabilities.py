"""What the client can do, read once from its capabilities."""

from __future__ import annotations

from dataclasses import dataclass

from lsprotocol import types
from pygls.capabilities import get_capability


@dataclass(frozen=True)
class Capabilities:
    """The client's capabilities that change what the server sends. All are False if nothing is known."""

    progress: bool = False
    """It shows progress that the server begins."""
    configuration: bool = False
    """It answers ``workspace/configuration``."""
    register_configuration: bool = False
    """It tells of changed settings when asked by dynamic registration."""
    register_watched_files: bool = False
    """It watches files when asked by dynamic registration."""
    markdown: bool = False
    """It renders Markdown in hovers."""
    related_information: bool = False
    """It shows the related places of a diagnostic."""
    code_description: bool = False
    """It links the code of a diagnostic to a page."""
    unnecessary_tag: bool = False
    """It fades code that a diagnostic tags as unnecessary."""
    diagnostic_data: bool = False
    """It sends the data of a diagnostic back when it asks for code actions."""
    code_action_literals: bool = False
    """It accepts code actions, and not only commands."""
    preferred_actions: bool = False
    """It marks a preferred code action."""
    disabled_actions: bool = False
    """It shows actions that cannot be taken, with the reason."""
    show_document: bool = False
    """It opens a document at a range when asked."""
    apply_edits: bool = False
    """It edits documents when asked."""
    pulls_diagnostics: bool = False
    """It asks for the diagnostics of open documents, and asks again when told to."""

    images: bool = False
    """It shows images in hovers, from data in their addresses (``experimental.handlens.images``)."""
    command_links: bool = False
    """It runs links to commands in hovers (``experimental.handlens.commandLinks``)."""

    diagnostics_in_hover: bool = False
    """It shows the diagnostics of a place above a hover (``experimental.handlens.diagnosticsInHover``)."""
    status: bool = False
    """It shows what the targets are doing (``experimental.handlens.status``)."""

    pages: str = ""
    """Where it shows the documentation: what its addresses begin with (``experimental.handlens.pages``)."""

    refresh_inlay_hints: bool = False
    refresh_code_lenses: bool = False
    """It asks again for hints and lenses when told to."""

    @classmethod
    def of(cls, client: types.ClientCapabilities) -> Capabilities:
        def has(path: str) -> bool:
            return bool(get_capability(client, path))

        experimental = client.experimental if isinstance(client.experimental, dict) else {}
        given = experimental.get("handlens")
        ours = given if isinstance(given, dict) else {}
        formats = get_capability(client, "text_document.hover.content_format") or ()
        diagnostics = "text_document.publish_diagnostics"
        return cls(
            images=bool(ours.get("images")),
            command_links=bool(ours.get("commandLinks")),
            diagnostics_in_hover=bool(ours.get("diagnosticsInHover")),
            status=bool(ours.get("status")),
            pages=str(ours.get("pages") or ""),
            progress=has("window.work_done_progress"),
            configuration=has("workspace.configuration"),
            register_configuration=has("workspace.did_change_configuration.dynamic_registration"),
            register_watched_files=has("workspace.did_change_watched_files.dynamic_registration"),
            markdown=types.MarkupKind.Markdown in formats,
            related_information=has(f"{diagnostics}.related_information"),
            code_description=has(f"{diagnostics}.code_description_support"),
            diagnostic_data=has(f"{diagnostics}.data_support"),
            unnecessary_tag=types.DiagnosticTag.Unnecessary
            in (get_capability(client, f"{diagnostics}.tag_support.value_set") or ()),
            refresh_inlay_hints=has("workspace.inlay_hint.refresh_support"),
            refresh_code_lenses=has("workspace.code_lens.refresh_support"),
            preferred_actions=has("text_document.code_action.is_preferred_support"),
            disabled_actions=has("text_document.code_action.disabled_support"),
            show_document=has("window.show_document.support"),
            apply_edits=has("workspace.apply_edit"),
            # Without refresh requests, a client that pulls would not learn of the end of a run.
            pulls_diagnostics=has("text_document.diagnostic")
            and has("workspace.diagnostics.refresh_support"),
            code_action_literals=has("text_document.code_action.code_action_literal_support"),
        )
