"""What a worker does before its first run leaves nothing behind that a run could notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from handlens.workers.warming import warm_up

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted on Linux")

# A process that has not run anything yet, as a worker's: in this one, the threads are there already.
FRESH = """\
import json, os, threading
import torch
import handlens.workers.warming

def threads():
    return len(os.listdir("/proc/self/task")), [each.name for each in threading.enumerate()]

before = threads()
handlens.workers.warming.warm_up()
# The system lists a thread for a moment after it has ended.
for _ in range(100_000):
    if threads() == before:
        break
    os.sched_yield()
print(json.dumps([before, threads()]))
"""


def test_warming_up_leaves_no_thread_behind() -> None:
    """Neither one of Python's nor one of a library's."""
    core = Path(__file__).parents[3] / "core"
    done = subprocess.run(
        [sys.executable, "-c", FRESH],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(core), "OMP_NUM_THREADS": "2"},
    )
    before, after = json.loads(done.stdout)
    assert after == before


def test_warming_up_uses_no_random_number() -> None:
    state, count = torch.get_rng_state(), torch.get_num_threads()
    warm_up()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == count
