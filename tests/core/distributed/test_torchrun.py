"""``torchrun -m handlens``: the report of one process, and failures of ranks, with real processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.core.command_line import ROOT, environment
from tests.core.distributed.models import ALIKE, FAILING, UNSEEDED

pytestmark = pytest.mark.slow

_PATIENCE_S = 300


@dataclass(frozen=True)
class _Done:
    status: int
    reports: dict[str, Any]
    """By target, without what differs from run to run: times."""
    err: str


_Check = Callable[..., _Done]


def _handlens(folder: Path, ranks: int, *arguments: str) -> _Done:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks))
    command = [sys.executable, *(torchrun if ranks > 1 else ()), "-m", "handlens", *arguments]
    done = subprocess.run(
        [*command, "--format", "json"],
        cwd=folder,
        env=environment() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
    )
    reports = json.loads(done.stdout)["reports"]
    for report in reports:
        report["timings"] = None
        if report["advice"]:
            report["advice"]["seconds"] = None
    return _Done(done.returncode, {each["target"]: each for each in reports}, done.stderr)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, _Done]:
    """The folder of a file, and what one process reports of it."""
    folder = tmp_path_factory.mktemp("alike")
    (folder / "net.py").write_text(ALIKE)
    return folder, _handlens(folder, 1, "check", "net.py")


@pytest.mark.parametrize("ranks", [2, 3])
def test_several_ranks_have_the_report_of_one_process_to_the_bit(
    alike: tuple[Path, _Done], ranks: int
) -> None:
    folder, one = alike
    statuses = {name: report["status"] for name, report in one.reports.items()}
    assert [name for name, status in statuses.items() if status == "failed"] == [
        "handlens_wrong_batches",
        "handlens_bad_generator",
    ]
    assert one.reports["handlens_infinite"]["non_finite"]["batch"] == "evaluation batch 3"
    several = _handlens(folder, ranks, "check", "net.py")
    assert several.reports == one.reports
    # Batches that depend on one another are not shared out, and that is said once, by rank 0.
    said = re.findall(r"^net.py::(\w+): rank 0 compares all batches: (.*),", several.err, re.M)
    assert said == [
        ("handlens_dropout", "aten.dropout.default may draw random numbers"),
        ("handlens_buffer", "the model changes seen"),
    ]
    # Torchrun has a status of its own, and says ours.
    assert several.status == 1
    assert "handlens exits with 2: it could not run" in several.err


def test_two_ranks_find_the_advice_of_one_process_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text((ROOT / "examples" / "tiny_cnn.py").read_text())
    one, two = (_handlens(tmp_path, ranks, "advise", "net.py") for ranks in (1, 2))
    advice = one.reports["handlens_tiny"]["advice"]
    assert (advice["complete"], advice["reason"]) == (True, "")
    assert advice["alternatives"]
    assert two.reports == one.reports
    assert (one.status, two.status) == (0, 0)


def test_random_numbers_are_those_of_rank_0_where_they_can_be(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(UNSEEDED)
    done = _handlens(tmp_path, 2, "check", "net.py")
    assert done.reports["handlens_unseeded"]["status"] == "ok"
    assert done.reports["handlens_unpredictable"]["status"] == "ok"
    alone = (
        "net.py::handlens_unpredictable: rank 0 compares all batches: wide.weight is another one"
    )
    assert alone in done.err
    assert "handlens_unseeded:" not in done.err
    error = done.reports["handlens_unpredictable_batches"]["error"]
    assert re.match(
        r"evaluation batch \d is another one on rank 1 than on rank 0", error["message"]
    )
    assert error["rule"] == "HL305"


def test_a_rank_that_fails_is_told_with_its_line_and_the_next_target_is_run(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FAILING)
    lines = dict(enumerate(FAILING.splitlines(), 1))
    done = _handlens(tmp_path, 2, "check", "net.py", "--deadline", "30")
    expected = {
        "handlens_import": ("HL301", "On rank 1: .*no data on this machine", "raise OSError"),
        "handlens_crash": ("HL304", "On rank 1: .*SIGSEGV", "SIGSEGV"),
        "handlens_killed": ("HL304", "On rank 1: .*SIGKILL, as the system does", None),
        "handlens_memory": (
            "HL303",
            "Making evaluation batch 4 failed.*can't allocate memory",
            "1 << 50",
        ),
        "handlens_hang": ("HL304", "On rank 1: .*took too long", "while True"),
    }
    for name, (rule, message, line) in expected.items():
        error = done.reports[name]["error"]
        assert error["rule"] == rule, error
        assert re.match(message, error["message"]), error
        if line is None:
            assert error["span"] is None
        else:
            assert line in lines[error["span"]["line"]]
    # Rank 1 says itself why it has died.
    assert "rank 1: Running handlens_crash failed: its process was killed by SIGSEGV" in done.err
    assert done.reports["handlens_last"]["status"] == "ok"
    assert not list(_left(tmp_path))


def test_when_rank_0_dies_the_others_end(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FAILING.replace('RANK == "1"', 'RANK == "0"'))
    done = _handlens(tmp_path, 2, "check", "net.py::handlens_crash")
    error = done.reports["handlens_crash"]["error"]
    assert error["message"].startswith("Running handlens_crash failed: its process was killed")
    assert done.status == 1
    assert not list(_left(tmp_path))


def _left(folder: Path) -> list[str]:
    """The processes that still work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve(strict=True) == folder.resolve():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found
