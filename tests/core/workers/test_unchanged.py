"""After an edit that changes no number nothing is measured again; after any other edit everything is."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from handlens.report import Report
from handlens.request import AdviceRequest, RunRequest
from handlens.targets import discover
from handlens.workers.client import Worker

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif("sys.platform != 'linux'", reason="runs are forked on Linux"),
]

TEXT = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 8)
        self.norm = nn.BatchNorm1d(16)

    def forward(self, x):
        x = self.norm(self.first(x))
        x = torch.sin(40 * x)
        return self.second(x)


def handlens_main():
    torch.manual_seed(0)
    batches = [(torch.randn(8, 16),) for _ in range(4)]
    return {
        "model": Net(),
        "example_inputs": batches[0],
        "calibration": batches[:2],
        "evaluation": batches[2:],
    }
"""


class Running:
    """A worker of which each run takes over what it can."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.stages: list[str] = []

    async def run(self, text: str, **options: Any) -> Report:
        """The report but for its times, which nobody measures twice."""
        [target] = discover(text, "model.py")
        self.stages.clear()
        request = RunRequest(target, text, **options)
        return replace(await self._worker.run(request, self.stages.append), timings={})

    async def takes_over(self, text: str, **options: Any) -> bool:
        """True if a run measures nothing. Its report is in any case that of a run which measures all."""
        report = await self.run(text, hold_export=True, **options)
        measures = {"quantize", "compare", "advise"}.intersection(self.stages)
        assert report == await self.run(text, **options)
        assert report.status == "ok"
        return not measures


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Running]:
    worker, _ = await Worker.start(sys.executable, lambda line: None, workers="fork")
    running = Running(worker)
    assert not await running.takes_over(TEXT)
    yield running
    await worker.close()


def edited(before: str, after: str) -> str:
    assert before in TEXT
    return TEXT.replace(before, after)


@pytest.mark.parametrize(
    "text",
    [
        "# A comment.\n\n\n" + TEXT,
        TEXT + "\n\nclass Other(Net):\n    pass\n",
        edited("    def forward", '    """What it is."""\n\n    def forward'),
        edited("        return self", "        print(x.shape)\n        return self"),
        edited("        x = torch.sin(40 * x)\n        return self.second(x)", "        y = 40 * x\n\n"
               "        return self.second(torch.sin(y))"),
        edited("handlens_main", "handlens_renamed"),
        edited('"model": Net()', '"recipe": "x86",\n        "model": Net()'),
    ],
)  # fmt: skip
async def test_an_edit_that_changes_no_number(running: Running, text: str) -> None:
    assert await running.takes_over(text)
    # And back again.
    assert await running.takes_over(TEXT)


KERNEL = """
library = torch.library.Library("aten", "IMPL")
with torch._C._IncludeDispatchKeyGuard(torch._C.DispatchKey.Undefined):
    library.impl("sin", lambda x: x.cos(), "CPU")
"""
OP = """
@torch.library.custom_op("tests_unchanged::wave", mutates_args=())
def wave(x: torch.Tensor) -> torch.Tensor:
    return x.sin()
wave.register_fake(torch.empty_like)
"""


@pytest.mark.parametrize(
    "text",
    [
        # The model.
        edited("40 * x", "41 * x"),
        edited("torch.sin", "torch.cos"),
        edited("manual_seed(0)", "manual_seed(1)"),
        edited("self.norm(self.first(x))", "self.first(x)"),
        edited("BatchNorm1d(16)", "BatchNorm1d(16, eps=1e-3)"),
        edited("Net()", "Net().double().float().requires_grad_(False)"),
        TEXT.replace("second", "last"),
        TEXT.replace("Net", "Classifier"),
        # The model itself, and not what is exported.
        edited("    return self.second(x)", "    x = x if torch.compiler.is_exporting() else x + 1\n"
               "        return self.second(x)"),
        # The batches.
        edited("batches[:2]", "batches[:1]"),
        edited("batches[:2]", "batches[1::-1]"),
        edited("batches[2:]", "batches[1:]"),
        edited("batches[2:]", "[(each + 0.1,) for (each,) in batches[2:]]"),
        # The options.
        edited('"model"', '"recipe": "xnnpack",\n        "model"'),
        edited('"model"', '"keep_float": ["first"],\n        "model"'),
        edited('"model"', '"adjust": {"first": "activation-16-bit"},\n        "model"'),
        # Torch's settings.
        edited("    torch.manual", "    torch.backends.mkldnn.enabled = False\n    torch.manual"),
        edited("    torch.manual", "    torch.set_float32_matmul_precision('medium')\n    torch.manual"),
    ],
)  # fmt: skip
async def test_an_edit_that_may_change_a_number(running: Running, text: str) -> None:
    await running.run(TEXT, hold_export=True)
    assert not await running.takes_over(text)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (edited('"model"', '"metric": lambda outputs, batch: outputs.mean(),\n        "model"'), {}),
        (edited("batches[2:]", "iter(batches[2:])"), {}),
        (edited("batches[2:]", "torch.utils.data.DataLoader(batches[2:], batch_size=None)"), {}),
        (edited("torch.sin", "wave") + OP, {}),
        (edited("return self.second(x)", "return self.second(x) + 0 * torch.rand(8)"), {}),
        (edited("return self.second(x)",
                "return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x * 2, (self.second(x),))"), {}),
        (TEXT, {"recipe": "bf16"}),
        (TEXT, {"recipe": "int8-weight-only"}),
        (edited('"model": Net()', '"recipe": quantizer, "model": Net()')
         + "def quantizer():\n    from handlens import recipes\n"
           "    return recipes.RECIPES['x86'].make_quantizer()\n", {}),
    ],
)  # fmt: skip
async def test_what_the_program_does_not_show_is_measured_each_time(
    running: Running, text: str, options: dict[str, Any]
) -> None:
    for _ in range(2):
        assert not await running.takes_over(text, **options)


PATCH = """
from torchao.quantization.pt2e.observer import HistogramObserver
HistogramObserver._non_linear_param_search = lambda self: (3 * self.min_val, 3 * self.max_val)
"""


async def test_with_a_kernel_of_the_users_all_is_measured(running: Running) -> None:
    for _ in range(2):
        await running.run(TEXT + KERNEL, hold_export=True)
        assert "compare" in running.stages


async def test_with_a_patch_of_torchao_all_is_measured(running: Running) -> None:
    await running.run(TEXT, hold_export=True)
    assert not await running.takes_over(TEXT + PATCH)
    assert await running.takes_over(TEXT)


async def test_advice_is_taken_over_with_what_it_is_for(running: Running) -> None:
    request = AdviceRequest()
    first = await running.run(TEXT, hold_export=True, advise=request)
    assert "advise" in running.stages
    text = "# A comment.\n" + TEXT
    again = await running.run(text, hold_export=True, advise=request)
    assert running.stages == ["load", "export"]
    assert again.advice == first.advice is not None
    assert again.ops == (await running.run(text)).ops
    # Another search is another question.
    await running.run(text, hold_export=True, advise=replace(request, most=1))
    assert "advise" in running.stages
