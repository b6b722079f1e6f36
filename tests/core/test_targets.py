"""Targets are found in a file's text, without running any of it."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from handlens.targets import (
    InvalidConfiguration,
    configuration,
    discover,
    find_project,
)

FILE = "/nowhere/net.py"


def names(text: str, file: str = FILE) -> list[str]:
    return [target.name for target in discover(dedent(text), file)]


def test_a_top_level_function_is_found_by_its_name() -> None:
    assert names("""
        def handlens_main():
            raise SystemExit

        def helper():
            def handlens_inner(): ...

        class Holder:
            def handlens_method(self): ...
    """) == ["handlens_main"]


def test_nothing_in_the_file_is_executed(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    text = f"open({str(witness)!r}, 'w')\ndef handlens_main(): ...\n"
    assert names(text) == ["handlens_main"]
    assert not witness.exists()


@pytest.mark.parametrize(
    ("base", "init", "found"),
    [
        ("nn.Module", "", True),
        ("torch.nn.Module", "", True),
        ("Module", "", True),
        ("object", "", False),
        ("nn.Module", "def __init__(self): ...", True),
        ("nn.Module", "def __init__(self, width=8, *rest, depth=2, **more): ...", True),
        ("nn.Module", "def __init__(self, width): ...", False),
        ("nn.Module", "def __init__(self, width, depth=2): ...", False),
        ("nn.Module", "def __init__(self, *, depth): ...", False),
    ],
)
def test_a_module_is_found_if_it_can_be_built_without_arguments(
    base: str, init: str, found: bool
) -> None:
    text = f"class Net({base}):\n    {init or 'pass'}\n    def example_inputs(self): ...\n"
    assert names(text) == (["Net"] if found else [])


def test_a_module_without_example_inputs_is_no_target() -> None:
    assert names("class Net(nn.Module):\n    def forward(self, x): ...\n") == []


def test_functions_come_first_and_each_kind_in_source_order() -> None:
    text = """
        class Net(nn.Module):
            def example_inputs(self): ...

        def handlens_b(): ...
        def handlens_a(): ...
    """
    assert names(text) == ["handlens_b", "handlens_a", "Net"]
    assert [target.kind for target in discover(dedent(text), FILE)] == [
        "function",
        "function",
        "class",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "def handlens_main(): ...",
        "@torch.no_grad()\n@other\ndef handlens_main(): ...",
        "def   handlens_main (): ...",
        'x = "日本"\r\ndef handlens_main(): ...\r\n',
        "class Net(nn.Module):\n    def example_inputs(self): ...",
    ],
)
def test_the_position_is_that_of_the_name(text: str) -> None:
    (target,) = discover(text, FILE)
    line = text.split("\n")[target.line - 1]
    assert line[target.column : target.end_column] == target.name


def test_a_text_that_does_not_parse_raises_its_syntax_error() -> None:
    with pytest.raises(SyntaxError) as caught:
        discover("def handlens_main(:\n", FILE)
    assert caught.value.lineno == 1


# -- pyproject.toml --------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("pkg", "src/other"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def write(project: Path, toml: str) -> None:
    (project / "pyproject.toml").write_text(dedent(toml), "utf-8")


@pytest.mark.parametrize(
    ("module", "file"),
    [("pkg.net", "pkg/net.py"), ("pkg", "pkg/__init__.py"), ("other.net", "src/other/net.py")],
)
def test_a_configured_target_belongs_to_the_file_of_its_model(
    project: Path, module: str, file: str
) -> None:
    write(
        project,
        f"""
        [tool.handlens.targets.trained]
        model = "{module}:load"
        example_inputs = "pkg.data:batch"
        """,
    )
    (target,) = discover("", str(project / file))
    assert (target.name, target.kind) == ("trained", "configured")
    assert target.references == {"model": f"{module}:load", "example_inputs": "pkg.data:batch"}
    assert discover("", str(project / "pkg/elsewhere.py")) == []


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[tool.handlens.targets.a]\nexample_inputs = 'm:f'", r"targets\.a\] needs model"),
        ("[tool.handlens.targets.a]\nmodel = 3", r"targets\.a\] needs model"),
        ("[tool.handlens.targets.a]\nmodel = 'm:f'\ncalibration = 3", "calibration is not"),
        ("[tool.handlens.targets]\na = 'm:f'", r"targets\.a\] needs model"),
        ("[tool]\nhandlens = 3", "not a table"),
        ("[tool.handlens", "pyproject.toml"),
    ],
)
def test_a_wrong_configuration_is_named(project: Path, toml: str, message: str) -> None:
    write(project, toml)
    with pytest.raises(InvalidConfiguration, match=message):
        discover("", str(project / "pkg/net.py"))


def test_the_nearest_project_counts(project: Path) -> None:
    write(project, "[tool.handlens]\nrecipe = 'outer'")
    (project / "pkg/pyproject.toml").write_text("[project]\nname = 'inner'\n")
    nearest = find_project(str(project / "pkg/net.py"))
    assert nearest == project / "pkg/pyproject.toml"
    assert configuration(nearest) == {}
    assert configuration(project / "pyproject.toml") == {"recipe": "outer"}
