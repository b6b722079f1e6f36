"""How long an editor waits: a real client beside a real server, each thing many times over.

Beside it what people do today: a script with torchao's debugger, started cold.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsprotocol import types

from benchmarks.editor import Client, Document, serving
from benchmarks.workloads import ROOT
from handlens.workers.child import ENVIRONMENT

TINY = ROOT / "examples/tiny_cnn.py"
EFFICIENTNET = ROOT / "examples/efficientnet_lite.py"

# A save may take this much longer than the same stages in a process that is as warm, but not forked.
_SHARE = 1.2
_EDITS = {
    "another model": Document.scale_output,
    "the same model": Document.add_statement,
}
_OPS = 10_000
_OPS_A_LINE = 5


@dataclass(frozen=True)
class Latency:
    """The samples of one measurement in seconds, and the goal that they should stay under."""

    name: str
    goal: float | None
    samples: list[float]


@dataclass(frozen=True)
class Effort:
    """How often to repeat each measurement."""

    starts: int = 20
    requests: int = 300
    runs: int = 20
    long_runs: int = 8
    processes: int = 4


THOROUGH = Effort()
QUICK = Effort(starts=2, requests=10, runs=2, long_runs=2, processes=1)


async def _timed(work: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    samples = []
    for _ in range(times):
        start = time.perf_counter()
        await work()
        samples.append(time.perf_counter() - start)
    return samples


# -- what is measured ------------------------------------------------------------------------------


async def _start(folder: Path, effort: Effort) -> AsyncIterator[Latency]:
    samples = []
    for _ in range(effort.starts):
        client = Client()
        start = time.perf_counter()
        await client.begin(folder)
        samples.append(time.perf_counter() - start)
        await client.end()
    yield Latency("start: spawn to the answer of initialize", 0.5, samples)


async def _saves(folder: Path, effort: Effort) -> AsyncIterator[Latency]:
    for example, times in ((TINY, effort.runs), (EFFICIENTNET, effort.long_runs)):
        first, again = [], []
        for _ in range(effort.processes):
            samples = json.loads(_python(_IN_PROCESS, example, times // effort.processes))
            first.append(samples[0])
            again += samples[1:]
        yield Latency(f"the same in a warm process, the first time: {example.stem}", None, first)
        yield Latency(f"the same in a warm process, again: {example.stem}", None, again)
        goal = 0.6 if example == TINY else _SHARE * statistics.median(first)
        for what, edit in _EDITS.items():
            async with serving(folder) as client:
                saves = await _saved(client, folder, example, edit)
                samples = [await anext(saves) for _ in range(times)]
                yield Latency(f"save to diagnostics: {example.stem}, {what}", goal, samples)


async def _standby(folder: Path, effort: Effort) -> AsyncIterator[Latency]:
    """Saves where an interpreter stands by for each run, beside saves where runs are forked, in turn."""
    for example, times in ((TINY, effort.runs), (EFFICIENTNET, effort.long_runs)):
        async with (
            serving(folder, advise="off", workers="fork") as forking,
            serving(folder, advise="off", workers="standby") as standing_by,
        ):
            forked = await _saved(forking, folder, example, Document.scale_output)
            stood_by = await _saved(standing_by, folder, example, Document.scale_output)
            samples: list[tuple[float, float, float]] = []
            for _ in range(times):
                # As long as somebody reads what a run has found, or more.
                await _until_idle(standing_by)
                samples.append((await anext(forked), await anext(stood_by), await anext(stood_by)))
            for how, those in zip(("fork", "standby", "standby, again at once"), zip(*samples)):
                yield Latency(f"save to diagnostics: {example.stem}, {how}", None, list(those))


async def _until_idle(client: Client) -> None:
    """Wait until the processes of a server do nothing, as after the start of an interpreter."""

    def spent() -> float:
        return sum(sum(each.cpu_times()[:2]) for each in client.process.children(recursive=True))

    before = -1.0
    while (now := spent()) > before:
        before = now
        await asyncio.sleep(1)


async def _saved(
    client: Client, folder: Path, example: Path, edit: Callable[[Document], None]
) -> AsyncIterator[float]:
    """The seconds from a save to its diagnostics, of an example that is edited again and again."""
    document = Document(client, folder / example.name, example.read_text("utf-8"))
    await document.open()

    async def saves() -> AsyncIterator[float]:
        while True:
            edit(document)
            await document.shown()
            client.published.clear()
            start = time.perf_counter()
            document.save()
            await document.shown()
            yield time.perf_counter() - start

    return saves()


async def _cancel(folder: Path, effort: Effort) -> AsyncIterator[Latency]:
    samples = []
    async with serving(folder) as client:
        text = EFFICIENTNET.read_text("utf-8")
        document = Document(client, folder / "cancelled.py", text)
        await document.open()
        [worker] = client.process.children()
        idle = set(worker.children(recursive=True))
        for stage in ("exporting", "quantizing", "comparing") * effort.long_runs:
            client.stages.clear()
            document.scale_output()
            document.save()
            await client.until(functools.partial(client.stages.__contains__, stage))
            runs = [each for each in worker.children(recursive=True) if each not in idle]
            start = time.perf_counter()
            client.window_work_done_progress_cancel(
                types.WorkDoneProgressCancelParams(client.tokens[-1])
            )
            while any(each.is_running() for each in runs):
                await asyncio.sleep(0.001)
            samples.append(time.perf_counter() - start)
    yield Latency("cancel to the end of the run's processes", 0.5, samples)


def _many_ops() -> str:
    lines = "\n".join(
        f"        x = torch.sin(x) * {1 + i % 7 / 10} + torch.cos(self.layer(x))"
        for i in range(_OPS // _OPS_A_LINE)
    )
    return (
        "import torch\n\n\nclass Many(torch.nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        torch.manual_seed(0)\n"
        "        self.layer = torch.nn.Linear(4, 4)\n\n    def forward(self, x):\n"
        f"{lines}\n        return x\n\n\n"
        "def handlens_many():\n"
        '    return {"model": Many(), "example_inputs": (torch.ones(1, 4),), "recipe": "int8-dynamic"}\n'
    )


async def _requests(folder: Path, effort: Effort) -> AsyncIterator[Latency]:
    """Requests for a document of 10,000 ops, while nothing runs and while another document is run."""
    # Some of the ops show a finding, as in a model that has a problem.
    async with serving(folder, thresholds={"informationDb": 55}) as client:
        document = Document(client, folder / "many.py", _many_ops())
        await document.open()
        numbers = itertools.count()

        def place() -> types.Position:
            """The position of an op, on another line at each call."""
            first = document.text.partition("x = ")[0].count("\n")
            return types.Position(first + next(numbers) * 37 % (_OPS // _OPS_A_LINE), 18)

        async def hover() -> None:
            answer = await client.text_document_hover_async(
                types.HoverParams(document.identifier, place())
            )
            assert answer is not None

        async def hints() -> None:
            # An editor asks for the lines that it shows.
            top = place().line
            where = types.Range(types.Position(top, 0), types.Position(top + 60, 0))
            answer = await client.text_document_inlay_hint_async(
                types.InlayHintParams(document.identifier, where)
            )
            assert answer

        async def lens() -> None:
            answer = await client.text_document_code_lens_async(
                types.CodeLensParams(document.identifier)
            )
            assert answer

        async def ask(when: str) -> AsyncIterator[Latency]:
            for name, work in (("hover", hover), ("inlay hints", hints), ("code lens", lens)):
                samples = await _timed(work, effort.requests)
                yield Latency(f"{name}: {_OPS:,} ops, {when}", 0.01, samples)

        await hover()
        async for latency in ask("idle"):
            yield latency

        async def comments(times: int) -> list[float]:
            samples = []
            for _ in range(times):
                start = time.perf_counter()
                document.insert("# A comment.\n")
                await document.shown()
                samples.append(client.protocol.arrived - start)
            return samples

        samples = await comments(effort.requests // 3)
        findings = len(client.published[document.uri].diagnostics)
        what = f"comment typed to diagnostics: {_OPS:,} ops, {findings:,} findings"
        yield Latency(what, 0.05, samples)

        busy = Document(client, folder / "busy.py", EFFICIENTNET.read_text("utf-8"))
        await busy.open()

        async def keep_busy() -> None:
            while True:
                client.stages.clear()
                busy.scale_output()
                busy.save()
                await client.until(lambda: "done" in client.stages)

        running = asyncio.create_task(keep_busy())
        await client.until(lambda: "exporting" in client.stages)
        async for latency in ask("while another model is run"):
            yield latency
        running.cancel()

    async with serving(folder) as client:
        text = EFFICIENTNET.read_text("utf-8")
        document = Document(client, folder / "comments.py", text)
        await document.open()
        samples = await comments(effort.requests // 3)
        yield Latency("comment typed to diagnostics: efficientnet_lite", 0.05, samples)


# -- the same without a server -------------------------------------------------------------------------

_IN_PROCESS = """
import json, sys, time
import torch
from handlens.request import RunRequest
from handlens.session import run
from handlens.targets import discover
from handlens.workers.warming import warm_up
warm_up()
file, times = sys.argv[1], int(sys.argv[2])
text = open(file, encoding="utf-8").read()
request = RunRequest(discover(text, file)[0], text)
samples = []
for _ in range(times + 1):
    start = time.perf_counter()
    report = run(request, lambda stage: None)
    samples.append(time.perf_counter() - start)
    assert report.status == "ok", report.error
print(json.dumps(samples))
"""

_SCRIPT = """
import sys
import torch
from torchao.quantization.pt2e import (
    compare_results, extract_results_from_loggers, generate_numeric_debug_handle,
    prepare_for_propagation_comparison)
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
sys.path.insert(0, sys.argv[1])
import importlib
module = importlib.import_module(sys.argv[2])
given = getattr(module, sys.argv[3])()
given = given if isinstance(given, dict) else dict(zip(("model", "example_inputs"), given))
inputs = given["example_inputs"]
exported = torch.export.export(given["model"].eval(), inputs)
generate_numeric_debug_handle(exported)
model = exported.module()
quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
prepared = prepare_pt2e(exported.module(), quantizer)
for batch in given.get("calibration", [inputs]):
    prepared(*batch)
quantized = convert_pt2e(prepared)
reference = prepare_for_propagation_comparison(model)
actual = prepare_for_propagation_comparison(quantized)
for batch in given.get("evaluation", [inputs]):
    reference(*batch)
    actual(*batch)
for summary in compare_results(
    extract_results_from_loggers(reference), extract_results_from_loggers(actual)
).values():
    print([float(each.sqnr) for each in summary.results])
"""


def _python(script: str, *arguments: object) -> str:
    environment = {**ENVIRONMENT, **os.environ, "PYTHONPATH": str(ROOT / "core")}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    return done.stdout


async def _beside(folder: Path, effort: Effort) -> AsyncIterator[Latency]:
    targets = (
        (TINY, "handlens_tiny", effort.runs),
        (EFFICIENTNET, "handlens_imagenet", effort.long_runs),
    )
    for example, target, times in targets:
        samples = []
        for _ in range(max(2, times // 4)):
            start = time.perf_counter()
            _python(_SCRIPT, example.parent, example.stem, target)
            samples.append(time.perf_counter() - start)
        yield Latency(f"a script with torchao's debugger: {example.stem}", None, samples)


SCENARIOS = {
    "start": _start,
    "saves": _saves,
    "standby": _standby,
    "beside": _beside,
    "cancel": _cancel,
    "requests": _requests,
}


async def measure(names: tuple[str, ...], effort: Effort) -> AsyncIterator[Latency]:
    """Run the scenarios one after another, each in a folder of its own."""
    for name in names or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="handlens-latency-") as folder:
            async for latency in SCENARIOS[name](Path(folder), effort):
                yield latency
