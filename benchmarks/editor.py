"""An editor for measurements: a client that starts a server, and notes the time of every answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from lsprotocol import types
from pygls.lsp.client import LanguageClient
from pygls.protocol import LanguageServerProtocol

from benchmarks.workloads import ROOT

_LONGEST_S = 600.0
_SCALED = re.compile(r"        x = x \* \d\S*\n")


class _Protocol(LanguageServerProtocol):
    """Notes when diagnostics arrive, before parsing them: an editor parses faster than this client."""

    arrived = 0.0

    def structure_message(self, data: dict[str, Any]) -> Any:
        if data.get("method") == types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS:
            self.arrived = time.perf_counter()
        return super().structure_message(data)


class Client(LanguageClient):
    """A client that has one document open at a time, and notes when diagnostics arrive."""

    protocol: _Protocol

    def __init__(self) -> None:
        super().__init__("benchmark", "1", _Protocol)
        self.published: dict[str, types.PublishDiagnosticsParams] = {}
        self.stages: list[str] = []
        self.tokens: list[str | int] = []
        self._arrived = asyncio.Event()

        def publish(params: types.PublishDiagnosticsParams) -> None:
            self.published[params.uri] = params
            self._wake()

        def create(params: types.WorkDoneProgressCreateParams) -> None:
            self.tokens.append(params.token)

        def progress(params: Any) -> None:
            self.stages.append(params.value.get("message") or "")
            self._wake()

        self.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(publish)
        self.feature(types.WINDOW_WORK_DONE_PROGRESS_CREATE)(create)
        self.feature(types.PROGRESS)(progress)
        for method in (types.WINDOW_LOG_MESSAGE, types.WINDOW_SHOW_MESSAGE):
            self.feature(method)(lambda params: None)

    async def begin(self, root: Path, **options: object) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'core'}{os.pathsep}{ROOT / 'server'}"}
        # Compile first: only the very first start of an editor finds no bytecode.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        await self.start_io(sys.executable, "-m", "handlens_server", "--stdio", env=environment)
        self._async_tasks.append(asyncio.create_task(self._drain()))
        capabilities = types.ClientCapabilities(
            window=types.WindowClientCapabilities(work_done_progress=True),
            text_document=types.TextDocumentClientCapabilities(
                hover=types.HoverClientCapabilities(content_format=[types.MarkupKind.Markdown]),
                publish_diagnostics=types.PublishDiagnosticsClientCapabilities(
                    related_information=True, version_support=True
                ),
            ),
        )
        await self.initialize_async(
            types.InitializeParams(
                capabilities=capabilities,
                process_id=os.getpid(),
                root_uri=root.as_uri(),
                workspace_folders=[types.WorkspaceFolder(root.as_uri(), root.name)],
                initialization_options=options,
            )
        )
        self.initialized(types.InitializedParams())

    async def _drain(self) -> None:
        assert self._server is not None
        assert self._server.stderr is not None
        while await self._server.stderr.readline():
            pass

    @property
    def process(self) -> psutil.Process:
        assert self._server is not None
        return psutil.Process(self._server.pid)

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()

    async def until(self, wanted: Callable[[], Any]) -> None:
        async def wait() -> None:
            while not wanted():
                await self._arrived.wait()

        await asyncio.wait_for(wait(), _LONGEST_S)

    async def end(self) -> None:
        await self.shutdown_async(None)
        self.exit(None)
        await self.stop()  # type: ignore[no-untyped-call]


@contextlib.asynccontextmanager
async def serving(root: Path, **options: object) -> AsyncIterator[Client]:
    client = Client()
    await client.begin(root, **options)
    try:
        yield client
    finally:
        await client.end()


@dataclass
class Document:
    client: Client
    file: Path
    text: str
    version: int = 0
    uri: str = field(init=False)

    def __post_init__(self) -> None:
        self.uri = self.file.as_uri()

    async def open(self) -> None:
        """Open the document, and wait for its run."""
        self.file.write_text(self.text, "utf-8")
        item = types.TextDocumentItem(self.uri, "python", self.version, self.text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        await self.shown()

    async def shown(self) -> None:
        """Wait for the diagnostics of the current version of the document."""
        await self.client.until(
            lambda: (
                (published := self.client.published.get(self.uri)) is not None
                and published.version == self.version
            )
        )

    def append(self, text: str) -> None:
        """Insert text at the end of the document."""
        end = types.Position(self.text.count("\n"), 0)
        self._change(types.Range(end, end), text)
        self.text += text

    def insert(self, text: str) -> None:
        """Insert text at the beginning of the document."""
        start = types.Position(0, 0)
        self._change(types.Range(start, start), text)
        self.text = text + self.text

    def replace(self, text: str) -> None:
        """Replace the whole text."""
        end = types.Position(self.text.count("\n") + 1, 0)
        self._change(types.Range(types.Position(0, 0), end), text)
        self.text = text

    def _change(self, where: types.Range, text: str) -> None:
        self.version += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self.version, self.uri),
                [types.TextDocumentContentChangePartial(where, text)],
            )
        )

    def save(self) -> None:
        self.file.write_text(self.text, "utf-8")
        self.client.text_document_did_save(types.DidSaveTextDocumentParams(self.identifier))

    def add_statement(self) -> None:
        """Change the code in a way that leaves the model the same."""
        self.append(f"_edit = {self.version}\n")

    def scale_output(self) -> None:
        """Have the model of an example compute something else."""
        before, end, after = _SCALED.sub("", self.text).rpartition("        return x\n")
        self.replace(f"{before}        x = x * {1 + self.version / 1000}\n{end}{after}")

    def edit_and_save(self) -> None:
        """Save the code changed in a way that leaves the model the same."""
        self.add_statement()
        self.save()

    @property
    def identifier(self) -> types.TextDocumentIdentifier:
        return types.TextDocumentIdentifier(self.uri)
