"""Runs tests/core with other versions of Python, torch and torchao, each in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.workloads import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = ROOT / "tests/versions.toml"
FOLDER = ROOT / "build/versions"
TESTS = "tests/core"

# It asks for any torch, so it is installed without what it asks for.
_WITHOUT_DEPENDENCIES = "efficientnet-lite-pytorch"
_LONGEST_REASON = 200


class CannotTest(Exception):
    """An environment cannot be set up; the message says why, and what to do."""


@dataclass(frozen=True)
class Environment:
    """A Python, a torch, and the torchao that fits it."""

    python: str
    torch: str
    torchao: str
    pins: tuple[str, ...] = ()
    """Requirements that replace those of constraints.txt for the same packages."""

    @property
    def name(self) -> str:
        return f"Python {self.python}, torch {self.torch}, torchao {self.torchao}"

    @property
    def folder(self) -> Path:
        return FOLDER / f"python{self.python}-torch{self.torch}"

    def matches(self, version: str) -> bool:
        """True if its Python or its torch is ``version``, or a release of it: 2.10.0 is one of 2.10."""
        return any(f"{each}.".startswith(f"{version}.") for each in (self.python, self.torch))


@dataclass(frozen=True)
class Ended:
    """A test that did not pass."""

    test: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What became of the tests in one environment."""

    python: str
    torch: str
    torchao: str
    date: str
    seconds: float
    passed: int
    failed: tuple[Ended, ...]
    skipped: tuple[Ended, ...]


def environments() -> list[Environment]:
    """The environments of tests/versions.toml, in its order."""
    table = tomllib.loads(TABLE.read_text("utf-8"))["environments"]
    return [Environment(**{**each, "pins": tuple(each.get("pins", ()))}) for each in table]


def measure(chosen: Iterable[Environment], processes: int, keep: bool) -> Iterator[Outcome | str]:
    """Set up each environment, run the tests in it, and remove it unless ``keep``.

    Yields what became of the tests, or why there is no environment.
    """
    for each in chosen:
        try:
            yield _test(each, _set_up(each), processes)
        except CannotTest as problem:
            yield f"{each.name}: {problem}"
        finally:
            if not keep:
                shutil.rmtree(each.folder, ignore_errors=True)


def find_python(python: str) -> str:
    """The interpreter for a version of Python: that of the variable for it, or the one on the PATH."""
    variable = f"PYTHON_{python.replace('.', '_')}"
    command = os.environ.get(variable, f"python{python}")
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        found = subprocess.run([command, "-c", ask], capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotTest(f"{command} does not start ({error.strerror}); set {variable}") from error
    if found.returncode or found.stdout.strip() != python:
        raise CannotTest(f"{command} is no Python {python}; set {variable}")
    return command


def _set_up(environment: Environment) -> str:
    """Make the environment, unless it is there. Returns its interpreter."""
    interpreter = str(environment.folder / "bin/python")
    constraints = environment.folder / "constraints.txt"
    stamp = environment.folder / "stamp"
    pinned = "".join(f"{each}\n" for each in _constraints(environment))
    if stamp.exists() and stamp.read_text("utf-8") == pinned:
        return interpreter
    shutil.rmtree(environment.folder, ignore_errors=True)
    _check([find_python(environment.python), "-m", "venv", str(environment.folder)])
    constraints.write_text(pinned, "utf-8")
    pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    pip += ["--constraint", str(constraints)]
    # torch comes first, as in the Makefile.
    _check([*pip, f"torch=={environment.torch}", f"torchao=={environment.torchao}"])
    _check([*pip, "--editable", ".[dev]"])
    _check([*pip, "--no-deps", _WITHOUT_DEPENDENCIES])
    stamp.write_text(pinned, "utf-8")
    return interpreter


def _constraints(environment: Environment) -> list[str]:
    own = [
        f"torch=={environment.torch}",
        f"torchao=={environment.torchao}",
        *environment.pins,
    ]
    replaced = {each.split("==")[0].lower() for each in own}
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if "==" in line and line.split("==")[0].lower() not in replaced]
    return [*pins, *own]


def _check(command: list[str]) -> None:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["it said nothing"]
        raise CannotTest(f"`{' '.join(command)}` failed: {said[-1]}")


def _test(environment: Environment, interpreter: str, processes: int) -> Outcome:
    results = environment.folder / "results.xml"
    results.unlink(missing_ok=True)
    command = [interpreter, "-m", "pytest", TESTS, "--junitxml", str(results), "--quiet"]
    command += ["--numprocesses", str(processes), "--dist", "loadfile"]
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    seconds = time.monotonic() - began
    if not results.exists():
        raise CannotTest("pytest wrote no results; what it said is above")
    passed, failed, skipped = read_results(results)
    return Outcome(
        environment.python,
        environment.torch,
        environment.torchao,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds,
        passed,
        failed,
        skipped,
    )


def read_results(results: Path) -> tuple[int, tuple[Ended, ...], tuple[Ended, ...]]:
    """How many tests passed, and those that failed and that were skipped."""
    passed = 0
    failed: list[Ended] = []
    skipped: list[Ended] = []
    for case in ElementTree.parse(results).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        for ending in case:
            if ending.tag in ("failure", "error", "skipped"):
                reason = (ending.get("message") or "").strip().split("\n")[0]
                into = skipped if ending.tag == "skipped" else failed
                into.append(Ended(name, reason[:_LONGEST_REASON]))
                break
        else:
            passed += 1
    return passed, tuple(failed), tuple(skipped)
