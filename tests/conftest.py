"""Settings of every test run, and the tests that need torch.

`make quick` runs the tests that are neither marked `torch` nor `slow`. They import no torch and start no
worker, so they also run where torch is not installed. `make test` runs all.
"""

from __future__ import annotations

import importlib.abc
import os
import signal
import sys
import typing
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from handlens.switches import Workers
from handlens.workers.child import ENVIRONMENT

# Set before torch is loaded: tests, workers and servers share the cores, as they do on a working day.
os.environ.setdefault("GOMP_SPINCOUNT", ENVIRONMENT["GOMP_SPINCOUNT"])

# A shell that starts the tests in the background makes them, and all that they start, ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent

TORCH_MODULES = (
    "core/advising",
    "core/capture",
    "core/comparison",
    "core/distributed",
    "core/failures",
    "core/loading",
    "core/numeric_debugger",
    "core/recipes",
    "core/workers",
    "core/diagnosis/test_help.py",
    "core/diagnosis/test_noise_floor.py",
    "core/diagnosis/test_verdicts.py",
    "core/test_examples.py",
    "core/test_reports.py",
    "core/test_session.py",
    "core/test_verification.py",
    "e2e",
    "reliability",
    "server/test_failures.py",
    "test_benchmarks.py",
)
"""Folders and modules whose tests all need torch. Only these may import it at the top."""

TORCH_FIXTURES = {
    "client",
    "efficientnet_lite",
    "run_text",
    "serving",
    "tiny_cnn",
    "transformer_block",
}
"""Fixtures that run a model, here or in a worker."""


def _needs_torch(path: Path) -> bool:
    inside = path.relative_to(TESTS)
    return any(inside.is_relative_to(each) for each in TORCH_MODULES)


def _is_without_torch(config: pytest.Config) -> bool:
    return "not torch" in config.option.markexpr


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave modules that need torch out of a run without torch: importing them would import it."""
    return True if _is_without_torch(config) and _needs_torch(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures: Sequence[str] = getattr(item, "fixturenames", ())
        if _needs_torch(item.path) or not TORCH_FIXTURES.isdisjoint(fixtures):
            item.add_marker(pytest.mark.torch)


class NoTorch(importlib.abc.MetaPathFinder):
    """Refuses to import torch, also where it is installed, so that no test comes to need it unnoticed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in ("torch", "torchao"):
            raise ImportError(
                f"a test without the marker torch imports {name}: mark it and import {name} within it, "
                "or name its module in TORCH_MODULES (tests/conftest.py)"
            )
        return None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--workers",
        choices=typing.get_args(Workers),
        help="How runs get a process, in the tests that leave it open.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if _is_without_torch(config):
        sys.meta_path.insert(0, NoTorch())
    if (workers := config.getoption("--workers")) is not None:
        # Inherited by the servers and commands that the tests start.
        os.environ["HANDLENS_WORKERS"] = workers
