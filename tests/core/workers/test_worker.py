"""The worker process: runs are apart from each other and from us, and can be killed at any moment."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
import torch

from handlens.report import Report
from handlens.request import Progress, RunRequest
from handlens.targets import Target, discover
from handlens.workers.client import Worker, WorkerUnusable

MODEL = """\
import torch, sys, os
def handlens_main():
    return torch.nn.Linear(4, 4), (torch.randn(2, 4),)
"""


ALL_STAGES = ["load", "export", "quantize", "compare"]


class Running:
    """A worker and what it printed."""

    def __init__(self) -> None:
        self.output: list[str] = []
        self.worker: Worker
        self._printed = asyncio.Event()
        self.stages: list[str] = []
        self.progress: list[Progress] = []
        self._staged = asyncio.Event()

    def hear(self, line: str) -> None:
        self.output.append(line)
        self._printed.set()

    async def prints(self, line: str) -> None:
        """Wait until a line is printed."""
        while line not in self.output:
            self._printed.clear()
            await self._printed.wait()

    async def run(self, text: str, **options: Any) -> Report:
        target = next(
            iter(discover(text, "model.py")), Target("handlens_main", "function", "model.py")
        )
        self.stages, self.progress = [], []

        def on_stage(stage: str) -> None:
            self.stages.append(stage)
            self._staged.set()

        return await self.worker.run(
            RunRequest(target, text, **options), on_stage, on_progress=self.progress.append
        )

    async def reaches(self, stage: str) -> None:
        """Wait until the worker has told of a stage."""
        while stage not in self.stages:
            self._staged.clear()
            await self._staged.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["fork", "standby"])
async def running(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    running = Running()
    running.worker, environment = await Worker.start(
        sys.executable, running.hear, workers=request.param
    )
    assert environment.torch.startswith("2.")
    yield running
    await running.worker.close()
    assert not running.worker.alive


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_run_gives_a_report_and_tells_its_stages(running: Running) -> None:
    report = await running.run(MODEL)
    assert report.status == "ok", report.error
    assert running.stages == ALL_STAGES


async def test_a_run_tells_how_far_its_comparison_is(running: Running) -> None:
    await running.run(MODEL)
    assert {each.stage for each in running.progress} == {"compare"}
    assert all(0 < each.share <= 1 for each in running.progress)


async def test_no_state_leaks_from_one_run_to_the_next(running: Running) -> None:
    leaving = MODEL + "torch.leaked = 1\nos.environ['LEAKED'] = '1'\n"
    assert (await running.run(leaving)).status == "ok"
    looking = MODEL + "assert not hasattr(torch, 'leaked') and 'LEAKED' not in os.environ\n"
    assert (await running.run(looking)).status == "ok"


@pytest.mark.parametrize(
    ("death", "said"),
    [
        ("os._exit(7)", "exit status 7"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ],
)
async def test_a_run_that_dies_is_a_report_and_the_next_is_fine(
    running: Running, death: str, said: str
) -> None:
    report = await running.run(MODEL + death)
    assert report.status == "failed"
    assert report.error is not None
    assert report.error.rule == "HL304"
    assert said in report.error.message
    assert (await running.run(MODEL)).status == "ok"


async def test_what_the_user_prints_never_reaches_the_protocol(running: Running) -> None:
    report = await running.run(MODEL + "print('{\"event\": 1}'); os.write(1, b'raw\\n')\n")
    assert report.status == "ok"
    assert {'{"event": 1}', "raw"} <= set(running.output)


async def test_the_user_has_no_standard_input(running: Running) -> None:
    assert (await running.run(MODEL + "assert sys.stdin.read() == ''\n")).status == "ok"


async def test_a_cancelled_run_is_killed_with_what_it_started(
    running: Running, tmp_path: Path
) -> None:
    fifo = tmp_path / "alive"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    # Both the run and its child hold the pipe open; reading it ends when both are gone.
    text = MODEL + (
        "import subprocess, time\n"
        f"pipe = open({str(fifo)!r}, 'w')\n"
        "subprocess.Popen(['sleep', '1000'], pass_fds=[pipe.fileno()])\n"
        "pipe.write('started\\n'); pipe.flush()\n"
        "while True: pass\n"
    )
    task = asyncio.create_task(running.run(text))
    reader = await asyncio.to_thread(open, fifo)
    assert await asyncio.to_thread(reader.readline) == "started\n"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(asyncio.to_thread(reader.read), 10) == ""
    reader.close()
    assert (await running.run(MODEL)).status == "ok"


async def test_an_interpreter_without_torch_says_what_to_install(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    with pytest.raises(WorkerUnusable, match=r"torch is not installed.*pip install torch torchao"):
        await Worker.start(str(tmp_path / "bin" / "python"), lambda line: None)


async def test_an_interpreter_that_dies_at_once_is_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(WorkerUnusable, match=f"{python}: .* ended with exit status 3"):
        await Worker.start(str(python), lambda line: None)


SITE = "import sys\nsys.exit('no licence for this Python')\n"


@pytest.mark.parametrize(
    ("environment", "files", "said"),
    [
        ({"TORCH_LOGS": ""}, {}, "AttributeError: 'dict' object has no attribute"),
        (
            {},
            {"torch/__init__.py": "import ctypes\nctypes.CDLL('libnothing.so')\n"},
            "OSError: libnothing.so: cannot open shared object file",
        ),
        ({}, {"sitecustomize.py": SITE}, "no licence for this Python"),
        (
            {},
            {"torch/__init__.py": "import os\nos.abort()\n"},
            "was killed by SIGABRT as it started",
        ),
    ],
)
async def test_an_interpreter_that_cannot_start_says_what_it_wrote_last(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    files: dict[str, str],
    said: str,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name, value in {**environment, "PYTHONPATH": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WorkerUnusable) as caught:
        await Worker.start(sys.executable, lambda line: None)
    message = str(caught.value)
    assert message.startswith(f"{sys.executable}: the worker process ")
    assert said in message
    assert not caught.value.output or said in caught.value.output[-1]


async def test_a_program_that_is_no_python_is_told_of() -> None:
    with pytest.raises(WorkerUnusable, match=r"exit status 0 as it started, and wrote nothing"):
        await Worker.start("/bin/true", lambda line: None)


async def test_a_torch_that_lacks_a_part_is_not_told_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("import torch._C\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(
        WorkerUnusable, match=r"cannot be imported in .*: No module named 'torch._C'"
    ):
        await Worker.start(sys.executable, lambda line: None)


async def test_an_interpreter_that_is_none_says_so() -> None:
    with pytest.raises(WorkerUnusable, match="/no/such/python"):
        await Worker.start("/no/such/python", lambda line: None)


async def test_the_worker_needs_nothing_but_torch_and_torchao() -> None:
    script = (
        "import sys, handlens.workers.worker, handlens.session\n"
        "ours = {'pygls', 'lsprotocol', 'click', 'rich', 'handlens_server'}\n"
        "print(sorted(ours & {name.split('.')[0] for name in sys.modules}))"
    )
    core = Path(__file__).parents[3] / "core"
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(core)},
    )
    assert done.stdout.strip() == "[]"


async def test_what_a_run_leaves_behind_ends_with_it(running: Running, tmp_path: Path) -> None:
    fifo = tmp_path / "left"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    # In a session of its own, and no child of the run any more.
    text = MODEL + (
        f"pipe = open({str(fifo)!r}, 'w')\n"
        "import subprocess\n"
        "subprocess.run(['sh', '-c', 'setsid sleep 1000 &'], pass_fds=[pipe.fileno()])\n"
    )
    run = asyncio.create_task(running.run(text))
    reader = await asyncio.to_thread(open, fifo)
    assert (await run).status == "ok"
    assert await asyncio.wait_for(asyncio.to_thread(reader.read), 10) == ""
    reader.close()


async def test_a_line_that_is_no_event_ends_nothing(running: Running) -> None:
    # The user's code can find the pipe of its run, and write to it what it likes.
    text = MODEL + (
        "import stat\n"
        "for fd in range(3, 30):\n"
        "    try:\n"
        "        if not stat.S_ISFIFO(os.fstat(fd).st_mode): continue\n"
        '        os.write(fd, b\'{"event": "report"}\\nnoise\\n\')\n'
        "    except OSError: pass\n"
    )
    assert (await running.run(text)).status in ("ok", "failed")
    assert (await running.run(MODEL)).status == "ok"


# -- kept exports ----------------------------------------------------------------------------------

# Its weights and its inputs are large enough for OpenMP's and OpenBLAS' threads to start while it is
# loaded, and for the recipes to differ.
WIDE = """\
import os, sys
import numpy, torch
from torch import nn
def batches():
    {evaluating}
    yield (torch.ones(1, 3, 64, 64),)
def handlens_wide():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3))
    model(torch.randn(4, 3, 128, 128))
    numpy.linalg.inv(numpy.random.default_rng(0).normal(size=(300, 300)))
    {loading}
    inputs = (torch.randn(1, 3, 64, 64),)
    return {{"model": model, "example_inputs": inputs, "evaluation": batches()}}
"""


def wide(loading: str = "", evaluating: str = "") -> str:
    return WIDE.format(loading=loading or "pass", evaluating=evaluating or "pass")


def measured(report: Report) -> Report:
    return replace(report, timings={})


async def kept(running: Running, text: str, **options: Any) -> Report:
    report = await running.run(text, hold_export=True, **options)
    assert report.status == "ok", report.error
    # What an earlier test has measured is not measured again.
    assert running.stages[:2] == ["load", "export"]
    return report


linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are counted on Linux")


def forking(test: Callable[..., Any]) -> Any:
    """Exports are kept where runs are forked."""
    return linux(pytest.mark.parametrize("running", ["fork"], indirect=True)(test))


@forking
async def test_another_recipe_finds_on_a_kept_export_what_it_finds_on_a_new_one(
    running: Running,
) -> None:
    text = wide()
    first = await kept(running, text, recipe="x86")
    for recipe in ("xnnpack", "bf16", "int8-dynamic", "x86"):
        other = await running.run(text, recipe=recipe, hold_export=True, reuse_export=True)
        assert running.stages == ["quantize", "compare"]
        assert other.timings.keys() == {"quantize", "compare"}
        assert measured(other) == measured(await running.run(text, recipe=recipe))
    assert measured(other) == measured(first)


OPTIONS = """
import sys
import torch
from torch import nn
print("{name}")
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
    def forward(self, x):
        return self.second(torch.sin(40 * self.first(x)))
def handlens_main():
    torch.manual_seed(0)
    return {returned}
class Other(nn.Module):
    pass
"""
RETURNED = '{"model": Net(), "example_inputs": (torch.randn(8, 16),)}'


def returning(returned: str, name: str) -> str:
    """A text with a target; what another ``name`` has differs in more than options."""
    return OPTIONS.replace("{returned}", returned).replace("{name}", name)


def with_options(options: str, name: str) -> str:
    return returning(f"{RETURNED[:-1]},\n{options}}}", name)


@forking
@pytest.mark.parametrize(
    "options",
    [
        '"recipe": "bf16"',
        '"keep_float": [\n"first",\n]',
        '"adjust": {"second": "activation-16-bit"}',
    ],
)
async def test_other_options_of_a_target_need_no_export(running: Running, options: str) -> None:
    name = options.replace('"', "").replace("\n", "")
    pair = returning("(Net(), (torch.randn(8, 16),))", name)
    await kept(running, pair)
    text = with_options(options, name)
    changed = await running.run(text, hold_export=True)
    assert changed.status == "ok"
    assert running.stages == ["quantize", "compare"]
    assert measured(changed) == measured(await running.run(text))
    # A text that has no options again has them no more.
    assert measured(await running.run(pair, hold_export=True)) == measured(await running.run(pair))


@forking
async def test_spans_below_the_options_of_a_target_move_with_their_text(running: Running) -> None:
    last = "class Late(Net):\n    def forward(self, x):\n        return super().forward(x).exp()\n"
    before = returning(RETURNED, "late").replace("Net(),", "Late(),") + last
    after = with_options('"keep_float": ["first"]', "late").replace("Net(),", "Late(),") + last
    await kept(running, before)
    changed = await running.run(after, hold_export=True)
    assert running.stages == ["quantize", "compare"]
    assert measured(changed) == measured(await running.run(after))
    spans = [op.span for op in changed.ops if op.span is not None]
    assert any("exp()" in after.splitlines()[span.line - 1] for span in spans)


MAKING = """\
{name} = None
import torch
from torch import nn
FACTOR = 2.0
CONFIG = {{"factor": 1.0}}
def scaled(batches, by=1.0):
    global FACTOR
    FACTOR = by
    return batches
def configured(batches):
    CONFIG["factor"] = 3.0
    return batches
def declared(batches):
    Net.factor = 3.0
    return batches
def replaced(batches):
    Net.forward = lambda self, x: self.second(self.first(x))
    return batches
def patched(batches):
    torch.sin = torch.cos
    return batches
def hits(outputs, batch):
    return outputs.mean()
class Net(nn.Module):
    factor = 1.0
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
    def forward(self, x):
        factor = FACTOR * CONFIG["factor"] * self.factor
        return factor * self.second(torch.sin(40 * self.first(x)))
def handlens_main():
    torch.manual_seed(0)
    model = Net()
    names = []
    batches = [(torch.randn(8, 16),) for _ in range(3)]
    return {{
        "model": model, "example_inputs": batches[0], "keep_float": names, "metric": hits,
        "calibration": batches,
    }}
"""


def making(name: str, before: str = "", after: str = "") -> str:
    assert before in MAKING
    return MAKING.replace(before, after).format(name=name) if before else MAKING.format(name=name)


async def stages_after(running: Running, before: str, after: str) -> tuple[list[str], Report]:
    """The stages that an edit of a kept text takes. Its report is in any case that of a fresh run."""
    await kept(running, before)
    changed = await running.run(after, hold_export=True)
    stages = running.stages
    assert measured(changed) == measured(await running.run(after))
    return stages, changed


@forking
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("range(3)", "range(4)"),
        ('"calibration": batches', '"calibration": batches[1:]'),
        ('"calibration": batches', '"calibration": batches, "evaluation": batches[2:]'),
        ('"calibration": batches', '"calibration": batches[1:], "recipe": "bf16"'),
        ("names = []", 'names = ["first"]'),
    ],
)
async def test_other_data_of_a_target_need_no_export(
    running: Running, before: str, after: str
) -> None:
    name = f"other_{abs(hash((before, after)))}"
    text = making(name, before, after)
    stages, _ = await stages_after(running, making(name), text)
    assert stages == ["load", "quantize", "compare"]
    # What has the data goes on from there.
    text = text.replace('"calibration"', '"adjust": {"second": "activation-16-bit"}, "calibration"')
    if "bf16" not in text:
        changed = await running.run(text, hold_export=True)
        assert running.stages == ["quantize", "compare"]
        assert measured(changed) == measured(await running.run(text))
    # And back again.
    again = await running.run(making(name), hold_export=True)
    assert measured(again) == measured(await running.run(making(name)))


@forking
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model = Net()", "model = Net().requires_grad_(False)"),
        ("model = Net()", "model = nn.Sequential(Net())"),
        ("manual_seed(0)", "manual_seed(1)"),
        ('"calibration": batches', '"calibration": scaled(batches, 3.0)'),
        ('"calibration": batches', '"calibration": configured(batches)'),
        ('"calibration": batches', '"calibration": declared(batches)'),
        ('"calibration": batches', '"calibration": replaced(batches)'),
        ('"calibration": batches', '"calibration": patched(batches)'),
        ("range(3)", "range(1 // 0)"),
        ('"calibration": batches', '"calibration": iter(batches)'),
        ('"calibration": batches', '"calibration": batches, "recipe": lambda: 1 / 0'),
        ("range(3)", "range(0)"),
    ],
)
async def test_other_models_of_a_target_are_exported(
    running: Running, before: str, after: str
) -> None:
    name = f"other_{abs(hash((before, after)))}"
    stages, changed = await stages_after(running, making(name), making(name, before, after))
    assert "load" in stages
    assert changed.status == "failed" or "export" in stages


@forking
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model = Net()", "model = Net(); model.made = (each for each in ())"),
        ('"metric": hits', '"metric": lambda outputs, batch: outputs.mean() + len(names)'),
        ("return factor *", "return torch.rand(16) + factor *"),
    ],
)
async def test_what_cannot_be_told_apart_is_exported(
    running: Running, before: str, after: str
) -> None:
    text = making(f"unknown_{abs(hash(before))}", before, after)
    stages, _ = await stages_after(running, text, text.replace("range(3)", "range(4)"))
    assert "export" in stages


@forking
async def test_data_that_were_read_from_files_are_read_again_once_these_have_changed(
    running: Running, tmp_path: Path
) -> None:
    torch.save([(torch.ones(8, 16),)], tmp_path / "batches.pt")
    await kept(running, making("files"))
    loaded = f"torch.load({str(tmp_path / 'batches.pt')!r})"
    text = making("files", '"calibration": batches', f'"calibration": {loaded}')
    await running.run(text, hold_export=True)
    assert running.stages == ["load", "quantize", "compare"]
    torch.save([(torch.full((8, 16), 2.0),)] * 2, tmp_path / "batches.pt")
    text = text.replace('"metric": hits', '"metric": hits, "adjust": {}')
    changed = await running.run(text, hold_export=True)
    assert "load" in running.stages
    assert measured(changed) == measured(await running.run(text))


@forking
@pytest.mark.parametrize(
    "options",
    [
        '"keep_float": ["nobody"]',
        '"keep_float": "first"',
        '"recipe": "no such recipe"',
        '"calibration": [(torch.zeros(8, 16),)]',
        '"recipe": "bf16", "evaluation": [(torch.ones(8, 16),)]',
    ],
)
async def test_other_edits_export_again(running: Running, options: str) -> None:
    name = options.replace('"', "")
    await kept(running, returning(RETURNED, name))
    text = with_options(options, name)
    changed = await running.run(text, hold_export=True)
    assert "load" in running.stages
    assert measured(changed) == measured(await running.run(text))


CALIBRATED = """
import torch
class Batches(list):
    def __iter__(self):
        print("calibrates", flush=True)
        return super().__iter__()
def handlens_main():
    torch.manual_seed(0)
    batches = Batches((torch.randn(8, 16),) for _ in range(3))
    return {"model": torch.nn.Linear(16, 16), "example_inputs": batches[0], "calibration": batches}
"""


@forking
async def test_a_kept_export_is_calibrated_once(running: Running) -> None:
    running.output.clear()
    first = await kept(running, CALIBRATED)
    for _ in range(2):
        again = await running.run(CALIBRATED, hold_export=True, reuse_export=True)
        assert again.ops == first.ops
    assert running.output.count("calibrates") == 1
    # Other observers have seen nothing yet.
    other = await running.run(CALIBRATED, recipe="xnnpack", hold_export=True, reuse_export=True)
    assert measured(other) == measured(await running.run(CALIBRATED, recipe="xnnpack"))


METRIC = """
import torch
from torch import nn
def hits(outputs, batch):
    return (outputs.argmax(-1) == batch[1]).sum()
def handlens_main():
    torch.manual_seed(0)
    labelled = [(torch.randn(16, 8), torch.arange(16) % 4)]
    return dict(
        model=nn.Linear(8, 4), example_inputs=(torch.randn(16, 8),), evaluation=labelled, metric=hits
    )
"""


@forking
async def test_a_kept_export_is_measured_again_with_the_metric(running: Running) -> None:
    first = await kept(running, METRIC)
    assert first.output is not None
    assert first.output.metric is not None
    assert first.output.metric.name == "hits"
    again = {"hold_export": True, "reuse_export": True}
    for recipe in ("bf16", "int8-dynamic"):
        other = await running.run(METRIC, recipe=recipe, **again)
        assert running.stages == ["quantize", "compare"]
        assert measured(other) == measured(await running.run(METRIC, recipe=recipe))
        assert other.output is not None
        assert other.output.metric is not None
        assert other.output.metric.reference == first.output.metric.reference


@forking
async def test_a_kept_export_is_quantized_again_with_other_ops_in_float(running: Running) -> None:
    text = wide()
    await kept(running, text)
    again = {"hold_export": True, "reuse_export": True}
    less = await running.run(text, keep_float=("",), **again)
    assert running.stages == ["quantize", "compare"]
    assert less.coverage is not None
    assert less.coverage.quantized == 0
    more = await running.run(text, **again)
    assert more.coverage is not None
    assert more.coverage.quantized > 0


@forking
async def test_a_run_that_does_not_ask_for_it_exports_again(running: Running) -> None:
    await kept(running, wide())
    await running.run(wide(), hold_export=True)
    assert running.stages == ALL_STAGES


@linux
async def test_no_export_is_held_where_that_is_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HANDLENS_NO_HELD_EXPORT", "1")
    running = Running()
    running.worker, _ = await Worker.start(sys.executable, running.hear, workers="fork")
    try:
        await kept(running, wide())
        await running.run(wide(), hold_export=True, reuse_export=True)
        assert running.stages == ALL_STAGES
    finally:
        await running.worker.close()


@forking
async def test_another_text_exports_again(running: Running) -> None:
    await kept(running, wide())
    await running.run(wide() + "# another\n", reuse_export=True)
    assert running.stages == ALL_STAGES


@forking
@pytest.mark.parametrize(
    "reading",
    ["open({file!r}, 'rb').read()", "torch.load({file!r})", "import imported; imported.value"],
)
async def test_a_file_that_has_changed_is_read_again(
    running: Running, tmp_path: Path, reading: str
) -> None:
    file = tmp_path / ("imported.py" if "import" in reading else "weights.pt")

    def write(value: int) -> None:
        if file.suffix == ".pt":
            torch.save(torch.zeros(value), file)
        else:
            file.write_text(f"value = {'1' * value}\n")

    write(1)
    text = wide(loading=reading.format(file=str(file)))
    folder = (str(tmp_path),)
    await kept(running, text, workspace=folder)
    await running.run(text, workspace=folder, hold_export=True, reuse_export=True)
    assert running.stages == ["quantize", "compare"]
    write(1000)
    report = await running.run(text, workspace=folder, hold_export=True, reuse_export=True)
    assert report.status == "ok", report.error
    assert running.stages == ALL_STAGES


@forking
@pytest.mark.parametrize(
    ("death", "said"),
    [
        ("os._exit(7)", "exit status 7"),
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("os.abort()", "SIGABRT"),
    ],
)
async def test_a_run_that_dies_behind_a_kept_export_is_a_report(
    running: Running, death: str, said: str
) -> None:
    report = await running.run(wide(evaluating=death), hold_export=True)
    assert report.error is not None
    assert report.error.rule == "HL304"
    assert said in report.error.message
    assert (await running.run(MODEL)).status == "ok"


@forking
@pytest.mark.parametrize("reused", [False, True])
async def test_cancelling_kills_a_run_behind_a_kept_export(
    running: Running, tmp_path: Path, reused: bool
) -> None:
    fifo = tmp_path / "alive"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    text = wide(
        evaluating=f"""if os.path.exists({str(tmp_path / "hang")!r}):
        import subprocess
        pipe = open({str(fifo)!r}, "w")
        subprocess.Popen(["sleep", "1000"], pass_fds=[pipe.fileno()])
        pipe.write("started\\n"); pipe.flush()
        while True: pass"""
    )
    if reused:
        await kept(running, text)
    (tmp_path / "hang").touch()
    task = asyncio.create_task(running.run(text, hold_export=True, reuse_export=reused))
    reader = await asyncio.to_thread(open, fifo)
    assert await asyncio.to_thread(reader.readline) == "started\n"
    # What the model writes may be here before what its worker says.
    await running.reaches("compare")
    assert running.stages == (["quantize", "compare"] if reused else ALL_STAGES)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(asyncio.to_thread(reader.read), 10) == ""
    reader.close()
    (tmp_path / "hang").unlink()
    assert (await running.run(text, reuse_export=True)).status == "ok"
    assert running.stages == ALL_STAGES


@forking
async def test_what_was_printed_before_the_export_is_printed_once(running: Running) -> None:
    text = wide(loading="print('only once')")
    running.output.clear()
    await kept(running, text)
    await running.run(text, reuse_export=True, hold_export=True)
    assert running.stages == ["quantize", "compare"]
    await running.run(MODEL + "print('the end')\n")
    await running.prints("the end")
    assert running.output.count("only once") == 1


@forking
async def test_a_model_with_threads_of_its_own_is_not_kept(running: Running) -> None:
    threads = (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    text = wide(loading=threads)
    assert (await running.run(text, hold_export=True)).status == "ok"
    assert (await running.run(text, hold_export=True, reuse_export=True)).status == "ok"
    assert running.stages == ALL_STAGES


@linux
async def test_no_more_than_two_exports_are_kept() -> None:
    before = set(psutil.Process().children())
    worker, _ = await Worker.start(sys.executable, lambda line: None, workers="fork")
    [process] = set(psutil.Process().children()) - before
    for number in range(4):
        text = MODEL + f"# {number}\n"
        target = replace(discover(MODEL, "model.py")[0], name="handlens_main", line=number + 1)
        request = RunRequest(target, text, hold_export=True)
        assert (await worker.run(request, lambda stage: None)).status == "ok"
        living = [each for each in process.children() if each.status() != psutil.STATUS_ZOMBIE]
        assert 1 <= len(living) <= 3
    children = process.children(recursive=True)
    await worker.close()
    psutil.wait_procs(children, timeout=10)
    assert not any(each.is_running() for each in children)


# -- limits ----------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("kept", [False, True])
async def test_what_exceeds_its_memory_is_told_at_its_line(running: Running, kept: bool) -> None:
    text = MODEL.replace("    return", "    torch.ones(1 << 28)\n    return")
    report = await running.run(text, memory_limit_mib=512, hold_export=kept)
    assert report.error is not None
    assert report.error.rule == "HL301"
    assert "512 MiB" in report.error.message
    assert report.error.span is not None
    assert report.error.span.line == 3
    assert (await running.run(MODEL, memory_limit_mib=512)).status == "ok"
    assert (await running.run(text, memory_limit_mib=4096)).status == "ok"


@forking
@pytest.mark.parametrize(("before", "after"), [(None, 512), (4096, 512), (512, 4096), (512, None)])
async def test_another_memory_limit_holds_for_a_model_whose_export_is_kept(
    running: Running, tmp_path: Path, before: int | None, after: int | None
) -> None:
    greedy = tmp_path / "greedy"
    text = wide(evaluating=f"os.path.exists({str(greedy)!r}) and torch.ones(1 << 28)")
    await kept(running, text, memory_limit_mib=before)
    greedy.touch()
    report = await running.run(text, memory_limit_mib=after, hold_export=True, reuse_export=True)
    if after == 512:
        assert report.error is not None
        assert "may take 512 MiB" in report.error.message
    else:
        assert report.status == "ok", report.error
