"""Settings: initializationOptions, workspace/configuration and workspace/didChangeConfiguration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path

from handlens_server import settings, window
from handlens_server.background import spawn
from handlens_server.runs.triggers import Triggers
from handlens_server.state import State

logger = logging.getLogger(__name__)

# A client that announces workspace/configuration and does not answer must not hold up every run.
_PATIENCE_S = 5.0


class Configuration:
    """Applies the settings that the client sends, and asks for those that it does not."""

    def __init__(self, server: LanguageServer, state: State, triggers: Triggers) -> None:
        self._server = server
        self._state = state
        self._triggers = triggers
        self._problems: list[str] = []
        """What was told of the settings before, so that it is not told twice."""

    def apply(self, data: object, folders: Mapping[str, object] | None = None) -> None:
        """Replace the settings by what the client sent for all and for some folders."""
        state = self._state
        before = {each.uri: state.settings(each.file) for each in state.known_documents}
        problems = state.configure(data, folders or {})
        for problem in problems:
            if problem not in self._problems:
                window.show_message(self._server, types.MessageType.Warning, problem)
        self._problems = problems
        for document in state.known_documents:
            if document.uri in before:
                self._triggers.reconfigured(document, before[document.uri])
            state.events.status_changed(document.uri)
        state.events.numbers_changed()

    async def pull(self) -> None:
        """Ask the client for its settings, and apply what it answers."""
        folders = self._state.documents.roots
        items = [types.ConfigurationItem(section=settings.SECTION)]
        items += [
            types.ConfigurationItem(scope_uri=from_fs_path(each), section=settings.SECTION)
            for each in folders
        ]
        asked = self._server.workspace_configuration_async(types.ConfigurationParams(items))
        try:
            answer = await asyncio.wait_for(asked, _PATIENCE_S)
        except Exception as error:
            logger.warning("the client does not tell its settings: %r", error)
        else:
            # Clients without such a section answer null or {}; then the initialization options hold.
            given = [each if isinstance(each, Mapping) and each else None for each in answer or ()]
            if any(given):
                scoped = {folder: each for folder, each in zip(folders, given[1:]) if each}
                self.apply(given[0], scoped)
        finally:
            self._state.configured.set()


def register(server: LanguageServer, state: State, triggers: Triggers) -> Configuration:
    """Register the handlers."""
    configuration = Configuration(server, state, triggers)

    @server.feature(types.INITIALIZED)
    def initialized(params: types.InitializedParams) -> None:
        if state.capabilities.register_configuration:
            spawn(_register(server, _SETTINGS, "changed settings"))
        if state.capabilities.register_watched_files:
            spawn(_register(server, _FILES, "changed files"))
        if state.capabilities.configuration:
            spawn(configuration.pull())
        else:
            state.configured.set()

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    def did_change_configuration(params: types.DidChangeConfigurationParams) -> None:
        if state.capabilities.configuration:
            spawn(configuration.pull())
        else:
            configuration.apply(params.settings)

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def did_change_workspace_folders(params: types.DidChangeWorkspaceFoldersParams) -> None:
        # pygls has changed the folders already; their settings are to be asked for.
        if state.capabilities.configuration:
            spawn(configuration.pull())

    return configuration


_SETTINGS = types.Registration(
    id="handlens-configuration",
    method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
    register_options=types.DidChangeConfigurationRegistrationOptions(settings.SECTION),
)
_FILES = types.Registration(
    id="handlens-files",
    method=types.WORKSPACE_DID_CHANGE_WATCHED_FILES,
    register_options=types.DidChangeWatchedFilesRegistrationOptions(
        [types.FileSystemWatcher("**/*.py"), types.FileSystemWatcher("**/pyproject.toml")]
    ),
)


async def _register(server: LanguageServer, registration: types.Registration, what: str) -> None:
    """Ask the client to tell of something."""
    try:
        await server.client_register_capability_async(types.RegistrationParams([registration]))
    except Exception as error:
        logger.warning("the client does not tell of %s: %s", what, error)
