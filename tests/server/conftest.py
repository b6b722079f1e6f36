"""A real client that talks to ``python -m handlens_server`` over standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from cattrs import Converter
from lsprotocol import types
from pygls.lsp.client import LanguageClient
from pygls.protocol import default_converter

import handlens
import handlens_server

GUARD_S = 90
"""A test that waits longer than this waits for something that does not come."""

SOURCES = os.pathsep.join(
    str(Path(package.__path__[0]).parent) for package in (handlens, handlens_server)
)
# Every comparison finds something: what is found does not depend on how accurate a kernel is.
EVERYTHING = {"errorDb": -300, "warningDb": 300, "informationDb": 300}
SETTINGS: dict[str, Any] = {
    "interpreter": sys.executable,
    "thresholds": EVERYTHING,
    # A search behind the findings is a run of its own, which only the tests of it expect.
    "advise": "off",
}
"""What a client of these tests sets, if it sets nothing else."""

MODEL = """\
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        for block in self.blocks:
            x = block(x)
        return x


def handlens_tiny():
    torch.manual_seed(1)
    return Tiny(), (torch.randn(2, 3, 8, 8),)
"""


# A run that says through a pipe that it has begun, and then waits to be killed.
HELD = """\
import signal
alive = open({pipe!r}, "w")
signal.pause()
"""


class HeldRun:
    """A text whose run goes on until it is killed."""

    def __init__(self, pipe: Path, model: str) -> None:
        os.mkfifo(pipe)
        self.text = HELD.format(pipe=str(pipe)) + model
        self._pipe = pipe

    async def begun(self) -> None:
        """Wait until the run executes the text."""
        self._reader = await asyncio.wait_for(asyncio.to_thread(self._pipe.open), GUARD_S)

    async def killed(self) -> None:
        """Wait until the run's process is gone."""
        assert await asyncio.wait_for(asyncio.to_thread(self._reader.read), GUARD_S) == ""
        self._reader.close()


UNITS: dict[str, Callable[[str], int]] = {
    "utf-8": lambda text: len(text.encode()),
    "utf-16": lambda text: len(text.encode("utf-16-le")) // 2,
    "utf-32": len,
}


def _converter() -> Converter:
    """lsprotocol takes a code action that has a command for a command, and knows no other."""
    converter = default_converter()

    def structure(data: dict[str, Any], _: object) -> types.Command | types.CodeAction:
        kind = types.Command if isinstance(data.get("command"), str) else types.CodeAction
        return converter.structure(data, kind)

    converter.register_structure_hook(types.Command | types.CodeAction, structure)
    return converter


class OpenDocument:
    """A document as the client has it."""

    def __init__(self, file: Path, text: str, encoding: str) -> None:
        self.file = file
        self.uri = file.as_uri()
        self.text = text
        self.version = 1
        self._encoding = encoding

    @property
    def identifier(self) -> types.TextDocumentIdentifier:
        return types.TextDocumentIdentifier(self.uri)

    def position(self, text: str, occurrence: int = 0) -> types.Position:
        """Where ``text`` begins."""
        index = -1
        for _ in range(occurrence + 1):
            index = self.text.index(text, index + 1)
        before = self.text[:index]
        line = before[before.rfind("\n") + 1 :]
        return types.Position(before.count("\n"), UNITS[self._encoding](line))

    def range(self, text: str, occurrence: int = 0) -> types.Range:
        start = self.position(text, occurrence)
        return types.Range(
            start, types.Position(start.line, start.character + UNITS[self._encoding](text))
        )

    def covered(self, where: types.Range) -> str:
        """The text in a range."""
        lines = self.text.splitlines(keepends=True)
        first, *others = [*lines, ""][where.start.line : where.end.line + 1]
        start = self._column(first, where.start.character)
        if not others:
            return first[start : self._column(first, where.end.character)]
        *middle, last = others
        return "".join([first[start:], *middle, last[: self._column(last, where.end.character)]])

    def edited(self, edits: Sequence[types.TextEdit]) -> str:
        """The text after one edit of a code action."""
        [edit] = edits
        before = types.Range(types.Position(0, 0), edit.range.start)
        after = types.Range(edit.range.end, types.Position(self.text.count("\n"), 1 << 20))
        return self.covered(before) + edit.new_text + self.covered(after)

    def _column(self, line: str, character: int) -> int:
        count = UNITS[self._encoding]
        return next((i for i in range(len(line)) if count(line[:i]) >= character), len(line))


class Client(LanguageClient):
    """Keeps what the server sends, and lets a test wait for it."""

    def __init__(self, root: Path) -> None:
        super().__init__("test client", "1", converter_factory=_converter)
        self.root = root
        self.published: dict[str, list[types.PublishDiagnosticsParams]] = defaultdict(list)
        self.messages: list[types.ShowMessageParams] = []
        self.logged: list[types.LogMessageParams] = []
        self.progress_values: list[tuple[str | int, Any]] = []
        self.statuses: list[Any] = []
        """Of targets, where a test asks for them."""
        self.registered: list[types.Registration] = []
        self.configuration: dict[str, Any] | None = None
        self.folder_configuration: dict[str, dict[str, Any]] = {}
        """What is set beyond that, by the uri of a folder."""
        self.stderr: list[str] = []
        self.initialized_with: types.InitializeResult | None = None
        self.shown: list[types.ShowDocumentParams] = []
        self.applied: list[types.ApplyWorkspaceEditParams] = []
        self.pulls = False
        self.encoding = "utf-16"
        self.refreshes = 0
        self._taken: dict[str, int] = defaultdict(int)
        self._pulled: dict[str, tuple[int, int, str | None, list[types.Diagnostic]]] = {}
        self._arrived = asyncio.Event()

        def keep(method: str, handle: Callable[[Any], Any]) -> None:
            @self.feature(method)
            def handler(params: Any) -> Any:
                answer = handle(params)
                self._arrived.set()
                return answer

        keep(
            types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS,
            lambda params: self.published[params.uri].append(params),
        )
        keep(types.WINDOW_SHOW_MESSAGE, self.messages.append)
        keep("handlens/status", self.statuses.append)
        keep(types.WINDOW_LOG_MESSAGE, self.logged.append)
        keep(types.PROGRESS, self._keep_progress)
        keep(types.WINDOW_WORK_DONE_PROGRESS_CREATE, lambda params: None)
        keep(
            types.CLIENT_REGISTER_CAPABILITY,
            lambda params: self.registered.extend(params.registrations),
        )
        keep(types.WORKSPACE_DIAGNOSTIC_REFRESH, self._keep_refresh)
        keep(types.WINDOW_SHOW_DOCUMENT, self._keep_shown)
        keep(types.WORKSPACE_APPLY_EDIT, self._keep_applied)
        keep(
            types.WORKSPACE_CONFIGURATION,
            lambda params: [self._configured(item.scope_uri) for item in params.items],
        )

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._server is not None
        return self._server

    async def start(
        self,
        capabilities: types.ClientCapabilities,
        options: dict[str, Any],
        process_id: int | None,
        folders: Sequence[Path],
    ) -> None:
        environment = {**os.environ, "PYTHONPATH": SOURCES}
        await self.start_io(sys.executable, "-m", "handlens_server", "--stdio", env=environment)
        self._async_tasks.append(asyncio.create_task(self._read_stderr()))
        self.initialized_with = await self.initialize_async(
            types.InitializeParams(
                capabilities=capabilities,
                process_id=process_id,
                root_uri=self.root.as_uri(),
                workspace_folders=[
                    types.WorkspaceFolder(each.as_uri(), each.name) for each in folders
                ],
                initialization_options=options,
            )
        )
        self.initialized(types.InitializedParams())
        answer = self.initialized_with.capabilities
        self.encoding = str(answer.position_encoding or "utf-16")
        asked = capabilities.text_document
        self.pulls = bool(asked and asked.diagnostic and answer.diagnostic_provider)

    def configure(self, **settings: Any) -> None:
        """Set these from now on, and ``SETTINGS`` beside them."""
        self.workspace_did_change_configuration(
            types.DidChangeConfigurationParams({"handlens": {**SETTINGS, **settings}})
        )

    async def leave(self) -> int:
        """``shutdown``, ``exit``, and the server's exit status."""
        if self.process.returncode is None:
            await self.shutdown_async(None)
            self.exit(None)
        await self.stop()
        return await self.process.wait()

    async def until(self, wanted: Callable[[], Any]) -> Any:
        """What ``wanted`` returns, as soon as that is something."""

        async def wait() -> Any:
            while not (found := wanted()):
                self._arrived.clear()
                await self._arrived.wait()
            return found

        try:
            return await asyncio.wait_for(wait(), GUARD_S)
        except asyncio.TimeoutError:
            raise AssertionError(
                "it never came; the server said:\n" + "".join(self.stderr)
            ) from None

    async def until_said(self, text: str) -> None:
        """Wait for a line in the server's log."""
        await self.until(lambda: any(text in line for line in self.stderr))

    async def diagnostics(
        self,
        document: OpenDocument,
        wanted: Callable[[list[types.Diagnostic]], Any] = lambda _: True,
    ) -> list[types.Diagnostic]:
        """The next diagnostics of the current version of a document that are ``wanted``."""
        if self.pulls:
            return await self._pull_until(document, wanted)

        def find() -> list[list[types.Diagnostic]]:
            published = self.published[document.uri]
            while self._taken[document.uri] < len(published):
                each = published[self._taken[document.uri]]
                self._taken[document.uri] += 1
                if each.version == document.version and wanted(list(each.diagnostics)):
                    return [list(each.diagnostics)]
            return []

        return (await self.until(find))[0]

    async def shows(self, document: OpenDocument) -> list[types.Diagnostic]:
        """The diagnostics that the client shows in a document by now."""
        if self.pulls:
            return (await self._pull(document))[1]
        return list(self.published[document.uri][-1].diagnostics)

    async def _pull_until(
        self, document: OpenDocument, wanted: Callable[[list[types.Diagnostic]], Any]
    ) -> list[types.Diagnostic]:
        while True:
            version, refreshes, *_ = self._pulled.get(document.uri, (0, self.refreshes))
            if version == document.version and refreshes == self.refreshes:
                await self._refreshed(refreshes)
            before, found = await self._pull(document)
            # A client asks after every edit; what was nothing before and is nothing now is no news.
            if (before or found) and wanted(found):
                return found

    async def _refreshed(self, before: int) -> None:
        await self.until(lambda: self.refreshes != before)

    async def _pull(
        self, document: OpenDocument
    ) -> tuple[list[types.Diagnostic], list[types.Diagnostic]]:
        """The diagnostics that were shown before, and those that are now."""
        version, refreshes = document.version, self.refreshes
        *_, result_id, before = self._pulled.get(document.uri, (0, 0, None, []))
        report = await self.text_document_diagnostic_async(
            types.DocumentDiagnosticParams(document.identifier, previous_result_id=result_id)
        )
        found = before
        if not isinstance(report, types.RelatedUnchangedDocumentDiagnosticReport):
            found = list(report.items)
        self._pulled[document.uri] = version, refreshes, report.result_id, found
        return before, found

    def write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8", newline="")
        return file

    def open(self, name: str, text: str, language: str = "python") -> OpenDocument:
        """Write a file and open it."""
        document = OpenDocument(self.write(name, text), text, self.encoding)
        self.text_document_did_open(
            types.DidOpenTextDocumentParams(
                types.TextDocumentItem(document.uri, language, document.version, text)
            )
        )
        return document

    def change(self, document: OpenDocument, text: str) -> None:
        """Replace the whole text in the buffer."""
        document.version += 1
        document.text = text
        self.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(document.version, document.uri),
                [types.TextDocumentContentChangeWholeDocument(text)],
            )
        )

    def save(self, document: OpenDocument, text: str | None = None) -> None:
        """Save the buffer, after replacing its text by ``text``."""
        if text is not None:
            self.change(document, text)
        document.file.write_text(document.text, "utf-8", newline="")
        self.text_document_did_save(types.DidSaveTextDocumentParams(document.identifier))

    def close(self, document: OpenDocument) -> None:
        self.text_document_did_close(types.DidCloseTextDocumentParams(document.identifier))

    async def hover(self, document: OpenDocument, position: types.Position) -> types.Hover | None:
        return await self.text_document_hover_async(
            types.HoverParams(document.identifier, position)
        )

    async def rerun(self, document: OpenDocument) -> None:
        await self.execute("handlens.server.rerun", document.uri)

    def _configured(self, folder: str | None) -> dict[str, Any] | None:
        own = self.folder_configuration.get(folder or "", {})
        return self.configuration and {**self.configuration, **own}

    def _keep_refresh(self, params: None) -> None:
        self.refreshes += 1

    def _keep_shown(self, params: types.ShowDocumentParams) -> types.ShowDocumentResult:
        self.shown.append(params)
        return types.ShowDocumentResult(success=True)

    def _keep_applied(
        self, params: types.ApplyWorkspaceEditParams
    ) -> types.ApplyWorkspaceEditResult:
        self.applied.append(params)
        return types.ApplyWorkspaceEditResult(applied=True)

    async def act(
        self, document: OpenDocument, diagnostics: Sequence[types.Diagnostic], only: Any = None
    ) -> dict[str, types.CodeAction]:
        """The code actions where the first of some diagnostics is, by their titles."""
        actions = await self.text_document_code_action_async(
            types.CodeActionParams(
                document.identifier,
                diagnostics[0].range,
                types.CodeActionContext(list(diagnostics), only),
            )
        )
        return {
            action.title: action for action in actions or () if isinstance(action, types.CodeAction)
        }

    async def execute(self, command: str, *arguments: Any) -> Any:
        return await self.workspace_execute_command_async(
            types.ExecuteCommandParams(command, arguments=list(arguments))
        )

    def _keep_progress(self, params: types.ProgressParams) -> None:
        fields: dict[str, Any] = {
            "title": None,
            "message": None,
            "percentage": None,
            **(params.value or {}),
        }
        self.progress_values.append((params.token, SimpleNamespace(**fields)))

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.stderr.append(line.decode())
            self._arrived.set()


PAGES = "pages:/"


def full_capabilities(pulls: bool = False, **general: Any) -> types.ClientCapabilities:
    """A client that can do everything the server makes use of; diagnostics are pushed or pulled."""
    return types.ClientCapabilities(
        experimental={"handlens": {"pages": PAGES}},
        general=types.GeneralClientCapabilities(**general),
        window=types.WindowClientCapabilities(
            work_done_progress=True, show_document=types.ShowDocumentClientCapabilities(True)
        ),
        workspace=types.WorkspaceClientCapabilities(
            apply_edit=True,
            diagnostics=types.DiagnosticWorkspaceClientCapabilities(refresh_support=True),
        ),
        text_document=types.TextDocumentClientCapabilities(
            hover=types.HoverClientCapabilities(
                content_format=[types.MarkupKind.Markdown, types.MarkupKind.PlainText]
            ),
            publish_diagnostics=types.PublishDiagnosticsClientCapabilities(
                related_information=True,
                version_support=True,
                code_description_support=True,
                data_support=True,
                tag_support=types.ClientDiagnosticsTagOptions([types.DiagnosticTag.Unnecessary]),
            ),
            diagnostic=types.DiagnosticClientCapabilities() if pulls else None,
            code_action=types.CodeActionClientCapabilities(
                is_preferred_support=True,
                disabled_support=True,
                code_action_literal_support=types.ClientCodeActionLiteralOptions(
                    types.ClientCodeActionKindOptions([types.CodeActionKind.QuickFix])
                ),
            ),
        ),
    )


@contextlib.asynccontextmanager
async def serving_client(
    root: Path,
    capabilities: types.ClientCapabilities | None = None,
    process_id: int | None = None,
    configuration: dict[str, Any] | None = None,
    folders: Sequence[Path] = (),
    **options: Any,
) -> AsyncIterator[Client]:
    """A client and its server for the length of a block."""
    client = Client(root)
    client.configuration = configuration
    await client.start(
        capabilities or full_capabilities(), {**SETTINGS, **options}, process_id, folders or [root]
    )
    try:
        yield client
    finally:
        await client.leave()


Serving = Callable[..., contextlib.AbstractAsyncContextManager[Client]]
"""``async with serving(root, …) as client``"""
Capabilities = Callable[..., types.ClientCapabilities]


@pytest.fixture(scope="session")
def serving() -> Serving:
    """``async with serving(root, …) as client``, for a test that needs a server of its own."""
    return serving_client


@pytest.fixture(scope="session")
def capabilities() -> Capabilities:
    """The capabilities of a client that can do everything the server makes use of."""
    return full_capabilities


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """The client of a server that the tests of a module share."""
    async with serving_client(tmp_path_factory.mktemp("workspace")) as client:
        yield client


@pytest.fixture
def held(tmp_path: Path, model: str) -> HeldRun:
    """The model with a run that goes on until it is killed."""
    return HeldRun(tmp_path / "alive", model)


@pytest.fixture(scope="session")
def model() -> str:
    """A model with a convolution, a loop over three linear layers, and a target."""
    return MODEL
