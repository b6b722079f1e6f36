"""Edit for an hour, and measure that nothing grows, slows down, or is wrong in the end.

What is done each time is drawn by chance: code and comments edited, runs that another edit or a cancel
ends, texts that do not parse, models that raise or kill their process, documents closed and opened again.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from lsprotocol import types

from benchmarks.editor import Client, Document, serving
from benchmarks.figures import p95
from benchmarks.latency import EFFICIENTNET, TINY
from handlens.switches import Workers

# With these thresholds every model has findings, so that diagnostics answer every edit.
_THRESHOLDS = {"errorDb": -300, "warningDb": 300, "informationDb": 300}
_SAMPLE_S = 30.0
_HOVERS = 10
_KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"


@dataclass(frozen=True)
class Sample:
    """The resources that server and worker use, at a moment when nothing runs."""

    seconds: float
    steps: int
    server_bytes: int
    worker_bytes: int
    server_descriptors: int
    worker_descriptors: int
    processes: int
    hover_p95: float
    """The seconds of the hovers since the last sample."""


@dataclass
class Soak:
    """The samples, and the documents whose diagnostics are not those that a fresh server gives."""

    samples: list[Sample] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    different: list[str] = field(default_factory=list)


class _Session:
    """The documents of a client, and the edits that it makes in them."""

    def __init__(self, client: Client, folder: Path, chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self.documents = [
            Document(client, folder / "tiny.py", TINY.read_text("utf-8")),
            Document(client, folder / "other.py", TINY.read_text("utf-8").replace("tiny", "other")),
            Document(client, folder / "large.py", EFFICIENTNET.read_text("utf-8")),
        ]
        self._original = {each.uri: each.text for each in self.documents}
        self.steps: dict[str, Callable[[Document], Awaitable[None]]] = {
            "edited": self._edit,
            "another model": self._change_model,
            "commented": self._comment,
            "superseded": self._supersede,
            "cancelled": self._cancel,
            "unparsable": self._break,
            "raising": self._raise,
            "killed": self._kill,
            "reopened": self._reopen,
            "restored": self.restore,
        }

    async def step(self) -> str:
        """Make a random edit in a random document. Returns the name of the edit."""
        # A run of the large document takes as long as ten of the small ones, so it is chosen less often.
        [document] = self._chance.choices(self.documents, (5, 5, 1))
        name = self._chance.choice(list(self.steps))
        await self.steps[name](document)
        return name

    async def hover(self) -> float:
        """Hover over a convolution. Returns the seconds that the answer took."""
        document = self._chance.choice(self.documents)
        line = document.text[: document.text.index("(x)")].count("\n")
        column = document.text.splitlines()[line].index("(x)")
        where = types.HoverParams(document.identifier, types.Position(line, column))
        start = time.perf_counter()
        await self._client.text_document_hover_async(where)
        return time.perf_counter() - start

    async def restore(self, document: Document) -> None:
        """Restore the text that the document was opened with."""
        await self._save(document, self._original[document.uri] + "\n# Restored.\n")

    async def _save(self, document: Document, text: str) -> None:
        """Save another text, and wait for its diagnostics, from a run or from an earlier result."""
        document.replace(text)
        await document.shown()
        del self._client.published[document.uri]
        document.edit_and_save()
        await document.shown()

    async def _edit(self, document: Document) -> None:
        await self._save(document, document.text)

    async def _change_model(self, document: Document) -> None:
        document.scale_output()
        await self._edit(document)

    async def _comment(self, document: Document) -> None:
        for _ in range(self._chance.randint(1, 10)):
            document.insert("# A comment.\n")
            await document.shown()

    async def _supersede(self, document: Document) -> None:
        for _ in range(self._chance.randint(1, 5)):
            document.edit_and_save()
        await self._edit(document)

    async def _cancel(self, document: Document) -> None:
        self._client.stages.clear()
        document.edit_and_save()
        await self._client.until(lambda: "exporting" in self._client.stages)
        self._client.window_work_done_progress_cancel(
            types.WorkDoneProgressCancelParams(self._client.tokens[-1])
        )
        await self._edit(document)

    async def _break(self, document: Document) -> None:
        whole = document.text
        await self._save(document, whole + "def (\n")
        await self._save(document, whole)

    async def _raise(self, document: Document) -> None:
        whole = document.text
        await self._save(document, whole + "raise RuntimeError('no')\n")
        await self._save(document, whole)

    async def _kill(self, document: Document) -> None:
        whole = document.text
        await self._save(document, whole + _KILLED)
        await self._save(document, whole)

    async def _reopen(self, document: Document) -> None:
        self._client.text_document_did_close(types.DidCloseTextDocumentParams(document.identifier))
        self._client.published.pop(document.uri, None)
        document.version += 1
        await document.open()


async def measure(
    seconds: float, seed: int, workers: Workers, on_sample: Callable[[Sample], None]
) -> Soak:
    """Edit for some seconds, then compare the diagnostics with those of a fresh server."""
    soak = Soak()
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="handlens-soak-") as folder:
        async with serving(Path(folder), thresholds=_THRESHOLDS, workers=workers) as client:
            session = _Session(client, Path(folder), chance)
            for document in session.documents:
                await document.open()
            start = sampled = time.monotonic()
            hovers: list[float] = []
            while (now := time.monotonic()) < start + seconds:
                name = await session.step()
                soak.steps[name] = soak.steps.get(name, 0) + 1
                hovers += [await session.hover() for _ in range(_HOVERS)]
                if now > sampled + _SAMPLE_S:
                    sample = _sample(client, now - start, sum(soak.steps.values()), hovers)
                    soak.samples.append(sample)
                    on_sample(sample)
                    sampled, hovers = now, []
            for document in session.documents:
                await session.restore(document)
            shown = {each.uri: _said(client, each.uri) for each in session.documents}
            texts = {each.file: each.text for each in session.documents}
        async with serving(Path(folder), thresholds=_THRESHOLDS, workers=workers) as client:
            for file, text in texts.items():
                document = Document(client, file, text)
                await document.open()
                if _said(client, document.uri) != shown[document.uri]:
                    soak.different.append(file.name)
    return soak


def _said(client: Client, uri: str) -> list[tuple[types.Range, str]]:
    return [(each.range, each.message) for each in client.published[uri].diagnostics]


def _sample(client: Client, seconds: float, steps: int, hovers: list[float]) -> Sample:
    server = client.process
    # Of several interpreters, the one that stands by: what was started last.
    worker = max(server.children(), key=psutil.Process.create_time)
    return Sample(
        seconds,
        steps,
        server.memory_info().rss,
        worker.memory_info().rss,
        server.num_fds(),
        worker.num_fds(),
        len(server.children(recursive=True)),
        p95(hovers),
    )
