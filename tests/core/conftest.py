from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from handlens import cli, targets
from handlens.diagnosis import judge
from handlens.diagnosis.thresholds import ChosenThresholds
from handlens.report import Report
from handlens.request import RunRequest
from tests.core.command_line import MODEL, STAND_IN, Result, Run, StandIn, ok

EXAMPLES = Path(__file__).parents[2] / "examples"

RunText = Callable[..., Report]


def run(request: RunRequest, *chosen: ChosenThresholds) -> Report:
    """The report of a run in this process, judged."""
    # Imported here, for the tests that need no torch.
    from handlens import session

    report = session.run(request, lambda stage: None)
    text = request.text if request.text is not None else Path(request.target.file).read_text()
    texts = {file: Path(file).read_text() for file in report.digests if Path(file).is_file()}
    texts[request.target.file] = text
    return judge(report, chosen, texts, request.target.declaration)


@pytest.fixture
def run_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunText]:
    """Runs the first target of a text in this process, as the worker does in its own."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])

    def run_one(
        text: str,
        name: str = "model.py",
        thresholds: tuple[ChosenThresholds, ...] = (),
        **request: Any,
    ) -> Report:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        text = dedent(text)
        target = targets.discover(text, str(file))[0]
        workspace = (str(tmp_path),)
        return run(RunRequest(target, text, workspace=workspace, **request), *thresholds)

    yield run_one
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def _example(name: str) -> Report:
    file = EXAMPLES / name
    target = targets.discover(file.read_text(), str(file))[0]
    return run(RunRequest(target, workspace=(str(EXAMPLES),)))


@pytest.fixture(scope="session")
def tiny_cnn() -> Report:
    return _example("tiny_cnn.py")


@pytest.fixture(scope="session")
def transformer_block() -> Report:
    return _example("transformer_block.py")


@pytest.fixture(scope="session")
def efficientnet_lite() -> Report:
    return _example("efficientnet_lite.py")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a model file, as the current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "net.py").write_text(MODEL)
    (folder / "pyproject.toml").write_text("")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def worker(tmp_path: Path, project: Path) -> StandIn:
    folder = tmp_path / "bin"
    folder.mkdir()
    stand_in = StandIn(folder)
    Path(stand_in.python).write_text(STAND_IN.format(python=sys.executable))
    Path(stand_in.python).chmod(0o755)
    stand_in.answers(handlens_main=ok(), handlens_other=ok("handlens_other"))
    return stand_in


@pytest.fixture
def handlens(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, out, err)

    return run
