"""The language server: its state, and the wiring of its features."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from lsprotocol import types
from pygls.io_ import StdoutWriter
from pygls.lsp.server import LanguageServer

import handlens
from handlens import switches
from handlens_server import framing, lifetime, settings
from handlens_server.capabilities import Capabilities
from handlens_server.documents import Documents
from handlens_server.features import (
    code_action,
    code_lens,
    configuration,
    diagnostics,
    execute_command,
    hover,
    inlay_hint,
    report_view,
    synchronization,
    trust,
)
from handlens_server.features.diagnostics import Diagnostics
from handlens_server.protocol import Protocol
from handlens_server.results import Results
from handlens_server.runs import Runs
from handlens_server.settings import Settings
from handlens_server.status import Status
from handlens_server.wording import inert
from handlens_server.worker.pool import Pool

logger = logging.getLogger(__name__)

_PATIENCE_S = 3.0


class HandlensServer(LanguageServer):
    """One client's server."""

    protocol: Protocol

    def __init__(self) -> None:
        cells = types.NotebookDocumentFilterWithNotebook(
            "*", [types.NotebookCellLanguage("python")]
        )
        super().__init__(
            "handlens",
            handlens.__version__,
            protocol_cls=Protocol,
            notebook_document_sync=types.NotebookDocumentSyncOptions([cells], save=True),
        )
        self.client = Capabilities()
        """What the client can do, from ``initialize`` on."""
        self._settings = Settings()
        self._folder_settings: dict[str, Settings] = {}
        """By the path of a workspace folder, where the client has told them."""
        self.configured = asyncio.Event()
        """Set once the settings are known; runs wait for it."""
        self.results = Results()
        self.diagnostics = Diagnostics(self)
        self.pool = Pool(self._on_worker_output, self._on_worker_unusable)
        self.runs = Runs(self)
        self.status = Status(self)
        self.trusted = True
        """Whether code of the workspace may be run."""
        self.asked_to_shut_down = False
        self._problems: list[str] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def documents(self) -> Documents:
        """The open documents and the workspace folders."""
        return cast(Documents, self.workspace)

    def settings(self, file: str | None) -> Settings:
        """The settings for a file: those of its workspace folder, else those for all."""
        folder = self.documents.root(file) if file is not None else ""
        return self._folder_settings.get(folder, self._settings)

    def configure(self, data: object, folders: Mapping[str, object] | None = None) -> None:
        """Take the settings that the client sent for all and for some folders, and follow the change."""
        before = {each.uri: self.settings(each.file) for each in self.documents.open}
        self._settings, problems = settings.parse(data)
        self._folder_settings = {}
        for folder, given in (folders or {}).items():
            self._folder_settings[folder], wrong = settings.parse(given)
            # Most clients repeat for a folder what they said for all.
            problems += [f"{each} In {folder}." for each in wrong if each not in problems]
        for problem in problems:
            if problem not in self._problems:
                self.tell(types.MessageType.Warning, problem)
        self._problems = problems
        logger.info("settings: %s %s", self._settings, self._folder_settings or "")
        for document in self.documents.open:
            if document.uri in before:
                self.runs.reconfigured(document, before[document.uri])
            self.status.follow(document)
        self.refresh()

    def refresh(self) -> None:
        """Let the client ask again for what it asks for by itself."""
        if self.client.refresh_inlay_hints:
            self.workspace_inlay_hint_refresh(None)
        if self.client.refresh_code_lenses:
            self.workspace_code_lens_refresh(None)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @functools.cached_property
    def reports(self) -> Path:
        """The folder of the reports that are shown, ours alone; it ends with the server."""
        self._folder = tempfile.TemporaryDirectory(prefix="handlens-")
        return Path(self._folder.name)

    async def show(
        self, uri: str, selection: types.Range | None = None, external: bool = False
    ) -> None:
        """Let the client open something, in the editor or outside of it."""
        if not self.client.show_document:
            self.tell(types.MessageType.Info, f"Handlens: {uri}")
            return
        try:
            await self.window_show_document_async(
                types.ShowDocumentParams(uri, external, take_focus=True, selection=selection)
            )
        except Exception as error:
            logger.warning("the client does not show %s: %s", uri, error)

    def tell(self, kind: types.MessageType, text: str) -> None:
        """Show a message to the user."""
        self.window_show_message(types.ShowMessageParams(kind, inert(text)))

    def log(self, kind: types.MessageType, text: str) -> None:
        """Write into the client's log."""
        self.window_log_message(types.LogMessageParams(kind, text))

    def report_server_error(self, error: Exception, source: object) -> None:
        """Log an exception of a handler. pygls would show a message box, one a keystroke."""
        logger.error("%s", error, exc_info=error)

    async def serve(self, stdin: BinaryIO, stdout: BinaryIO) -> None:
        """Serve until the client says ``exit``, closes the pipe, or is gone."""
        self.protocol.set_writer(StdoutWriter(stdout))
        try:
            async for body in framing.bodies(stdin, self.thread_pool):
                try:
                    self.protocol.receive(body)
                except BrokenPipeError:
                    raise
                except Exception as error:
                    self.report_server_error(error, body[:80])
        finally:
            await self.close()

    async def close(self) -> None:
        """End all runs and workers."""
        await self.runs.close()
        await self.pool.close()
        if self._folder is not None:
            self._folder.cleanup()

    def leave_with(self, process: int) -> None:
        """Leave when the client's process ends, even if somebody else keeps our pipes open."""
        loop = asyncio.get_running_loop()

        async def close() -> None:
            logger.warning("the client's process %d is gone", process)
            await self.close()

        def leave() -> None:
            # The loop may be writing into a pipe that nobody reads. The workers leave without it, too.
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(close(), loop).result(_PATIENCE_S)
            # A thread waits for the next message; nothing but the end of the process ends it.
            os._exit(1)

        lifetime.watch(process, leave)

    def _on_worker_output(self, line: str) -> None:
        self.log(types.MessageType.Log, line)

    def _on_worker_unusable(self, problem: str) -> None:
        self.tell(types.MessageType.Error, f"Handlens: {problem}")


def create_server() -> HandlensServer:
    """A server with all its features, before ``initialize``."""
    server = HandlensServer()

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        server.protocol.use_documents()
        server.client = Capabilities.of(params.capabilities)
        server.trusted = trust.is_given(params.initialization_options)
        server.configure(params.initialization_options)
        if params.process_id is not None:
            server.leave_with(params.process_id)

    @server.feature(types.SHUTDOWN)
    async def shutdown(params: None) -> None:
        server.asked_to_shut_down = True
        await server.runs.close()

    synchronization.register(server)
    configuration.register(server)
    diagnostics.register(server)
    hover.register(server)
    inlay_hint.register(server)
    code_lens.register(server)
    code_action.register(server)
    execute_command.register(server)
    report_view.register(server)
    trust.register(server)
    return server


def main(arguments: Sequence[str] = ()) -> int:
    """Serve one client over standard input and output; the exit status is 0 after ``shutdown``."""
    parser = argparse.ArgumentParser("handlens server", description="The Handlens language server.")
    parser.add_argument("--stdio", action="store_true", help="the only transport, and the default")
    parser.add_argument("--version", action="version", version=handlens.__version__)
    parser.parse_args(arguments)

    logging.basicConfig(
        stream=sys.stderr,
        level=switches.log_level("INFO"),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # pygls logs every message that it sends, with the whole text of the documents, at INFO.
    logging.getLogger("pygls").setLevel(logging.WARNING)
    # Whatever prints must not print into the protocol.
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    server = create_server()
    try:
        asyncio.run(server.serve(sys.stdin.buffer, stdout))
    except BrokenPipeError:
        logger.warning("the client closed the connection")
    except SystemExit:
        # That is how pygls leaves on ``exit``, having ended the loop.
        pass
    except KeyboardInterrupt:
        # A thread waits for the next message, and would hold up a regular exit until one comes.
        os._exit(130)
    finally:
        server.thread_pool.shutdown()
    return 0 if server.asked_to_shut_down else 1
