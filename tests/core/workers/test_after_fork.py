"""Forked runs compute on all cores and on accelerators, or are not forked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from handlens.request import RunRequest
from handlens.targets import discover
from handlens.workers.client import Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux")

# As in a worker: torch has computed in one thread, and its forks compute in many.
FORKS = """\
import os, torch
from handlens.workers import after_fork

torch.set_num_threads(1)
torch.randn(2000, 2000).amax(0)
torch.set_num_threads(8)
failed = 0
for _ in range(20):
    process = os.fork()
    if process == 0:
        try:
            after_fork.renew()
            for _ in range(5):
                torch.randn(2000, 200).amax(0)
        except RuntimeError:
            os._exit(1)
        os._exit(0)
    failed += os.waitpid(process, 0)[1] != 0
print(failed)
"""

MODEL = """\
import torch
from torch import nn

def handlens_main():
    return nn.Linear(4, 4), (torch.ones(2, 4),)
"""

# An interpreter in which something uses an accelerator as soon as torch is there.
TOUCHED = """\
import importlib.abc, importlib.machinery, sys

class Touch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name == "torchao":
            import torch
            torch.cuda._is_in_bad_fork = lambda: True
            sys.meta_path.remove(self)
        return None

sys.meta_path.insert(0, Touch())
"""


def test_the_threads_of_a_fork_find_their_pool() -> None:
    """Else nine forks of ten fail, with eight threads on two cores."""
    core = str(Path(__file__).parents[3] / "core")
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": core},
    )
    assert int(done.stdout) == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(("workers", "stands_by"), [("auto", True), ("fork", False)])
async def test_where_forks_lose_the_accelerator_an_interpreter_stands_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str, stands_by: bool
) -> None:
    (tmp_path / "sitecustomize.py").write_text(TOUCHED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("HANDLENS_WORKERS", raising=False)
    worker, _ = await Worker.start(sys.executable, lambda line: None, workers=workers)  # type: ignore[arg-type]
    try:
        assert worker.stands_by is stands_by
        report = await worker.run(
            RunRequest(discover(MODEL, "model.py")[0], MODEL), lambda stage: None
        )
        assert report.status == "ok"
    finally:
        await worker.close()
