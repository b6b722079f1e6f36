"""The names that ``import handlens`` gives: at run time without torch, and to a type checker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import handlens

ROOT = Path(__file__).parents[2]


def run(*command: str) -> str:
    ended = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return ended.stdout + ended.stderr


def test_every_public_name_is_there() -> None:
    assert dir(handlens) == sorted(handlens.__all__)
    for name in handlens.__all__:
        assert getattr(handlens, name) is not None
    with pytest.raises(AttributeError, match="'handlens' has no attribute 'prepare'"):
        handlens.prepare  # type: ignore[attr-defined]  # noqa: B018


def test_a_type_checker_knows_every_public_name(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    names = [name for name in handlens.__all__ if name != "__version__"]
    program = tmp_path / "a_user.py"
    program.write_text(
        "import handlens\n"
        + "".join(f"reveal_type(handlens.{name})\n" for name in names)
        + "handlens.prepare_pt2\n"
    )
    said = run("-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(program))
    revealed = re.findall(r'Revealed type is "(.*)"', said)
    types = dict(zip(names, revealed, strict=True))
    assert types["CUSTOM_KEY"] == "str"
    assert "torch.fx.graph_module.GraphModule" in types["prepare_pt2e"]
    assert (
        "dict[int, handlens.numeric_debugger.loggers.NodeAccuracySummary]"
        in (types["compare_results"])
    )
    assert "Any" not in types.values()
    assert 'has no attribute "prepare_pt2"; maybe "prepare_pt2e"?' in said
