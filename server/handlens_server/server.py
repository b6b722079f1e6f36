"""The language server: it makes the state, registers the features, and serves one client."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import BinaryIO

from lsprotocol import types
from pygls.io_ import StdoutWriter
from pygls.lsp.server import LanguageServer

import handlens
from handlens import switches
from handlens_server import framing, lifetime
from handlens_server.capabilities import Capabilities
from handlens_server.features import (
    code_action,
    code_lens,
    configuration,
    diagnostics,
    execute_command,
    hover,
    inlay_hint,
    messages,
    progress,
    report_view,
    status,
    synchronization,
    trust,
)
from handlens_server.jsonrpc import Protocol
from handlens_server.runs.abandonment import Abandonment
from handlens_server.runs.freshness import Freshness
from handlens_server.runs.runs import Runs
from handlens_server.runs.searches import Searches
from handlens_server.runs.triggers import Triggers
from handlens_server.state import State

logger = logging.getLogger(__name__)

_PATIENCE_S = 3.0


class HandlensServer(LanguageServer):
    """One client's server: its state, and how it starts and ends."""

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
        self.state = State()
        self.runs = Runs(self.state)
        self.freshness = Freshness(self.state)
        self.searches = Searches(self.state, self.runs)
        self.triggers = Triggers(self.state, self.runs, self.freshness, self.searches)
        self.abandonment = Abandonment(self.state, self.runs)
        self.asked_to_shut_down = False

    def report_server_error(self, error: Exception, source: object) -> None:
        """Log an exception of a handler. pygls would show a message box with every keystroke."""
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

    async def end_runs(self) -> None:
        """End all runs, and start no others."""
        self.triggers.close()
        self.abandonment.close()
        await self.searches.close()
        await self.runs.close()

    async def close(self) -> None:
        """End all runs and workers."""
        await self.end_runs()
        await self.state.close()

    def leave_with(self, process: int) -> None:
        """Leave when the client's process ends, even if somebody else keeps our pipes open."""
        loop = asyncio.get_running_loop()

        async def close() -> None:
            logger.warning("the client's process %d is gone", process)
            await self.close()

        def leave() -> None:
            # The loop may be stuck in writing into a pipe that nobody reads. Workers end without it, too.
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(close(), loop).result(_PATIENCE_S)
            # Only the end of the process ends the thread that waits for the next message.
            os._exit(1)

        lifetime.watch(process, leave)


def create_server() -> HandlensServer:
    """A server with all its features, before ``initialize``."""
    server = HandlensServer()
    state, runs, searches, triggers = server.state, server.runs, server.searches, server.triggers

    diagnostics.register(server, state)
    progress.register(server, state, runs, searches)
    status.register(server, state, runs, searches)
    messages.register(server, state)
    synchronization.register(server, state, runs, triggers, server.freshness, server.abandonment)
    settings = configuration.register(server, state, triggers)
    hover.register(server, state, runs)
    inlay_hint.register(server, state, runs)
    code_lens.register(server, state, runs, searches)
    code_action.register(server, state, searches)
    execute_command.register(server, state, runs, searches)
    report_view.register(server, state, searches)
    trust.register(server, state, triggers)

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        state.documents = server.protocol.use_documents()
        state.capabilities = Capabilities.of(params.capabilities)
        state.trusted = trust.is_given(params.initialization_options)
        settings.apply(params.initialization_options)
        if params.process_id is not None:
            server.leave_with(params.process_id)

    @server.feature(types.SHUTDOWN)
    async def shutdown(params: None) -> None:
        server.asked_to_shut_down = True
        await server.end_runs()

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
    # What anybody prints must not end up between the messages.
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    server = create_server()
    try:
        asyncio.run(server.serve(sys.stdin.buffer, stdout))
    except BrokenPipeError:
        logger.warning("the client closed the connection")
    except SystemExit:
        # pygls raises it on ``exit``, after it has ended the loop.
        pass
    except KeyboardInterrupt:
        # The thread that waits for the next message would delay a regular exit until one comes.
        os._exit(130)
    finally:
        server.thread_pool.shutdown()
    return 0 if server.asked_to_shut_down else 1
