"""Settings: initializationOptions, workspace/configuration and workspace/didChangeConfiguration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.uris import from_fs_path

from handlens_server import settings

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer

logger = logging.getLogger(__name__)

# A client that announces workspace/configuration and does not answer must not hold up every run.
_PATIENCE_S = 5.0


def register(server: HandlensServer) -> None:
    """Register the handlers."""

    @server.feature(types.INITIALIZED)
    def initialized(params: types.InitializedParams) -> None:
        if server.client.register_configuration:
            server.spawn(_subscribe(server))
        if server.client.register_watched_files:
            server.spawn(_watch(server))
        if server.client.configuration:
            server.spawn(_pull(server))
        else:
            server.configured.set()

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    def did_change_configuration(params: types.DidChangeConfigurationParams) -> None:
        if server.client.configuration:
            server.spawn(_pull(server))
        else:
            server.configure(params.settings)

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def did_change_workspace_folders(params: types.DidChangeWorkspaceFoldersParams) -> None:
        # pygls has taken them over; what they ask for is another thing.
        if server.client.configuration:
            server.spawn(_pull(server))


async def _subscribe(server: HandlensServer) -> None:
    registration = types.Registration(
        id="handlens-configuration",
        method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
        register_options=types.DidChangeConfigurationRegistrationOptions(settings.SECTION),
    )
    try:
        await server.client_register_capability_async(types.RegistrationParams([registration]))
    except Exception as error:
        logger.warning("the client does not tell of changed settings: %s", error)


async def _watch(server: HandlensServer) -> None:
    """Ask to be told of files that change outside of the editor."""
    registration = types.Registration(
        id="handlens-files",
        method=types.WORKSPACE_DID_CHANGE_WATCHED_FILES,
        register_options=types.DidChangeWatchedFilesRegistrationOptions(
            [types.FileSystemWatcher("**/*.py"), types.FileSystemWatcher("**/pyproject.toml")]
        ),
    )
    try:
        await server.client_register_capability_async(types.RegistrationParams([registration]))
    except Exception as error:
        logger.warning("the client does not tell of changed files: %s", error)


async def _pull(server: HandlensServer) -> None:
    folders = server.documents.roots
    items = [types.ConfigurationItem(section=settings.SECTION)]
    items += [
        types.ConfigurationItem(scope_uri=from_fs_path(each), section=settings.SECTION)
        for each in folders
    ]
    try:
        answer = await asyncio.wait_for(
            server.workspace_configuration_async(types.ConfigurationParams(items)), _PATIENCE_S
        )
    except Exception as error:
        logger.warning("the client does not tell its settings: %r", error)
    else:
        # Clients without such a section answer null or {}; then the initialization options hold.
        given = [each if isinstance(each, Mapping) and each else None for each in answer or ()]
        if any(given):
            scoped = {folder: each for folder, each in zip(folders, given[1:]) if each}
            server.configure(given[0], scoped)
    finally:
        server.configured.set()
