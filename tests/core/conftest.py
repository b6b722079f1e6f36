from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from handlens import session, targets
from handlens.report import Report
from handlens.request import RunRequest

EXAMPLES = Path(__file__).parents[2] / "examples"

RunText = Callable[..., Report]


@pytest.fixture
def run_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunText]:
    """Runs the first target of a text in this process, as the worker does in its own."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])

    def run(text: str, name: str = "model.py", **request: object) -> Report:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        text = dedent(text)
        target = targets.discover(text, str(file))[0]
        workspace = (str(tmp_path),)
        return session.run(
            RunRequest(target, text, workspace=workspace, **request),  # type: ignore[arg-type]
            lambda stage: None,
        )

    yield run
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def _example(name: str) -> Report:
    file = EXAMPLES / name
    target = targets.discover(file.read_text(), str(file))[0]
    return session.run(RunRequest(target, workspace=(str(EXAMPLES),)), lambda stage: None)


@pytest.fixture(scope="session")
def tiny_cnn() -> Report:
    return _example("tiny_cnn.py")


@pytest.fixture(scope="session")
def transformer_block() -> Report:
    return _example("transformer_block.py")


@pytest.fixture(scope="session")
def efficientnet_lite() -> Report:
    return _example("efficientnet_lite.py")
