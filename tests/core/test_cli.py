"""The command line: what it runs, what it prints, and the status it exits with.

Most tests run a stand-in for the worker, an executable that speaks its protocol and answers from a
file; the last ones run models.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import tomlkit

from handlens import __version__, cli, report
from handlens.diagnosis.rules import RULES
from handlens.report import Failure, OutputAccuracy, Severity, Verification, failed
from tests.core.command_line import MODEL, ROOT, Run, StandIn, environment, finding, ok
from tests.needs import HAS_COLUMNS

# -- status ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "status"), [("error", 1), ("warning", 1), ("information", 0), ("hint", 0)]
)
def test_errors_and_warnings_fail_and_the_rest_does_not(
    handlens: Run, worker: StandIn, severity: Severity, status: int
) -> None:
    worker.answers(handlens_main=ok("handlens_main", finding("HL101", severity)))
    result = handlens("check", "net.py::handlens_main", "--python", worker.python)
    assert result.status == status
    assert f"1 {severity}" in result.out


def test_nothing_found_says_what_was_compared(handlens: Run, worker: StandIn) -> None:
    fine = OutputAccuracy("ok", 45.0, 0.1, 0.2, 0.9)
    worker.answers(handlens_main=ok(output=fine))
    result = handlens("check", "net.py::handlens_main", "--python", worker.python)
    assert result.status == 0
    assert "3 of 3 ops" in result.out
    assert "nothing" in result.out


@pytest.mark.parametrize(
    ("output", "limit", "status"),
    [
        (OutputAccuracy("ok", 25.0, None, None, None), "25", 0),
        (OutputAccuracy("ok", 24.9, None, None, None), "25", 1),
        (OutputAccuracy("ok", -3.0, None, None, None), "-4", 0),
        (OutputAccuracy("exact", None, None, None, None), "99", 0),
        (OutputAccuracy("non-finite", None, None, None, None), "0", 1),
        (OutputAccuracy("no-signal", None, None, None, None), "0", 1),
        (OutputAccuracy("not-compared", None, None, None, None, "no tensors"), "-99", 1),
    ],
)
def test_an_output_under_the_limit_fails(
    handlens: Run, worker: StandIn, output: OutputAccuracy, limit: str, status: int
) -> None:
    worker.answers(handlens_main=ok(output=output))
    arguments = ("check", "net.py::handlens_main", "--python", worker.python)
    # The limit alone decides.
    result = handlens(*arguments, "--fail-under", limit, "--ignore", "HL")
    assert result.status == status
    assert ("asked for" in result.out) == (status == 1)


def test_a_reference_that_is_not_the_model_passes_no_limit(handlens: Run, worker: StandIn) -> None:
    worker.answers(handlens_main=ok(verified=Verification("differs", 12.0)))
    arguments = ("check", "net.py::handlens_main", "--python", worker.python)
    result = handlens(*arguments, "--fail-under", "1")
    assert result.status == 1
    assert "the reference is not the model (12 dB): see HL204" in result.out


def test_a_failed_target_is_status_2_and_the_others_are_run(handlens: Run, worker: StandIn) -> None:
    broken = failed("handlens_main", "net.py", "", Failure("HL302", "Export failed", None, "Trace"))
    worker.answers(handlens_main=broken, handlens_other=ok("handlens_other"))
    result = handlens("check", "net.py", "--python", worker.python)
    assert result.status == 2
    assert "HL302 error: Export failed" in result.out
    assert "net.py::handlens_other · recipe x86" in result.out
    assert "2 targets: 1 could not run" in result.out


def test_a_failure_cannot_be_ignored(handlens: Run, worker: StandIn) -> None:
    broken = failed("handlens_main", "net.py", "", Failure("HL302", "Export failed", None, ""))
    worker.answers(handlens_main=broken)
    arguments = ("check", "net.py::handlens_main", "--python", worker.python)
    result = handlens(*arguments, "--ignore", "HL3")
    assert result.status == 2
    assert "Export failed" in result.out


# -- what is run -----------------------------------------------------------------------------------


def test_a_file_is_run_whole_or_one_of_its_targets(handlens: Run, worker: StandIn) -> None:
    handlens("check", "net.py::handlens_other", "--python", worker.python)
    handlens("check", "net.py", "--python", worker.python)
    names = [request["target"]["name"] for request in worker.requests]
    assert names == ["handlens_other", "handlens_main", "handlens_other"]
    assert worker.starts == 2


def test_a_request_has_the_text_the_recipe_and_the_project(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    (project / "deep" / "er").mkdir(parents=True)
    (project / "deep" / "er" / "net.py").write_text(MODEL, "utf-8-sig")
    arguments = ("check", "deep/er/net.py::handlens_main", "--python", worker.python)
    handlens(*arguments, "--recipe", "xnnpack")
    (request,) = worker.requests
    assert request["text"] == MODEL
    assert request["recipe"] == "xnnpack"
    assert request["workspace"] == [str(project)]
    assert request["target"]["file"] == str(project / "deep" / "er" / "net.py")


def test_without_a_project_the_workspace_is_the_folder_of_the_file(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    (project / "pyproject.toml").unlink()
    handlens("check", "net.py::handlens_main", "--python", worker.python)
    assert worker.requests[0]["workspace"] == [str(project)]


def test_a_repository_is_a_workspace(handlens: Run, worker: StandIn, project: Path) -> None:
    (project / "pyproject.toml").unlink()
    (project / ".git").mkdir()
    (project / "models").mkdir()
    (project / "models" / "net.py").write_text(MODEL)
    handlens("check", "models/net.py::handlens_main", "--python", worker.python)
    assert worker.requests[0]["workspace"] == [str(project)]


# -- what cannot be run ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py"], "cannot read nowhere.py: No such file or directory"),
        (["."], ". is a folder"),
        (["net.py::handlens_man"], "no target handlens_man in net.py: did you mean handlens_main?"),
        (["net.py::x"], "no target x in net.py: it has handlens_main, handlens_other"),
        (["net.py", "--output", "no/such/folder.txt"], "there is no folder no/such"),
        (["net.py", "--select", "HL9"], "no rule starts with HL9"),
        (["net.py", "--format", "pdf"], "'pdf' is not one of"),
        (["net.py", "--python", "./no-python"], "Cannot start the interpreter ./no-python"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    handlens: Run, project: Path, arguments: list[str], message: str
) -> None:
    result = handlens("check", *arguments)
    assert result.status == 2
    assert message in result.err
    assert result.out == ""


def test_an_interpreter_that_cannot_run_a_worker_is_refused(handlens: Run, worker: StandIn) -> None:
    worker.answers(unusable="torch is not installed in some/python.")
    result = handlens("check", "net.py", "--python", worker.python)
    assert result.status == 2
    assert "torch is not installed in some/python." in result.err


def test_what_an_interpreter_wrote_before_it_ended_is_shown(handlens: Run, project: Path) -> None:
    python = project / "python"
    python.write_text(
        "#!/bin/sh\necho loading >&2\necho 'no licence for this Python' >&2\nexit 3\n"
    )
    python.chmod(0o755)
    result = handlens("check", "net.py", "--python", str(python))
    assert result.status == 2
    assert result.err.endswith(
        f"handlens: error: {python}: the worker process ended with exit status 3 as it started: "
        "no licence for this Python\n  loading\n  no licence for this Python\n"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "handlens: error: [Errno 28] No space left"),
        (RuntimeError("a defect"), "RuntimeError: a defect"),
    ],
)
def test_a_crash_does_not_look_like_findings(
    handlens: Run,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: str,
) -> None:
    async def crash(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli.running, "_run", crash)
    result = handlens("check", "net.py")
    assert result.status == 2
    assert message in result.err


def test_a_file_without_a_target_is_told_how_to_declare_one(handlens: Run, project: Path) -> None:
    (project / "empty.py").write_text("x = 1\n")
    result = handlens("check", "empty.py")
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert result.err.startswith("empty.py: information: No Handlens target in this file.")


def test_a_file_that_does_not_parse_is_a_failure_at_its_line(handlens: Run, project: Path) -> None:
    (project / "broken.py").write_text("x = 1\ndef handlens_main(:\n    return 1\n")
    result = handlens("check", "broken.py")
    assert result.status == 2
    assert "broken.py:2:19: HL301 error: broken.py does not parse: invalid syntax" in result.out
    assert "2 | def handlens_main(:\n  |                   ^\n" in result.out


@pytest.mark.parametrize("text", [b"\x00", b"x = '\xff'\n", b"# coding: nonsense\n"])
def test_a_file_that_is_no_text_is_status_2(handlens: Run, project: Path, text: bytes) -> None:
    (project / "binary.py").write_bytes(text)
    result = handlens("check", "binary.py")
    assert result.status == 2
    assert "binary.py" in result.out + result.err
    assert "Traceback" not in result.err


# -- selection and settings ------------------------------------------------------------------------


def test_rules_are_selected_and_ignored_by_the_beginning_of_their_code(
    handlens: Run, worker: StandIn
) -> None:
    both = ok("handlens_main", finding("HL101", "warning"), finding("HL104", "warning"))
    worker.answers(handlens_main=both)
    check = ("check", "net.py::handlens_main", "--python", worker.python)
    assert "HL104" not in handlens(*check, "--select", "hl101,HL2").out
    assert "HL101" not in handlens(*check, "--ignore", "HL101").out
    nothing = handlens(*check, "--ignore", "HL101", "--ignore", "HL104")
    assert nothing.status == 0
    assert "2 not shown" in nothing.out


def test_the_project_sets_what_the_command_line_does_not(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    (project / "pyproject.toml").write_text(
        dedent("""
        [tool.handlens]
        recipe = "xnnpack"
        ignore = ["HL104"]
        fail-under = 30
        error-db = 5
        information-db = 35.5
        saturated-share = 0.1
        """)
    )
    both = ok("handlens_main", finding("HL101", "information"), finding("HL104", "warning"))
    worker.answers(handlens_main=both)
    check = ("check", "net.py::handlens_main", "--python", worker.python)
    result = handlens(*check)
    assert result.status == 1
    assert "not the 30 dB asked for" in result.out
    assert "HL104" not in result.out
    given = handlens(*check, "--recipe", "x86", "--ignore", "HL2", "--fail-under", "1")
    assert given.status == 1
    assert "HL104 warning" in given.out
    first, second = worker.requests
    # A target's own recipe goes before the project's, and after the one that is asked for.
    assert (first["recipe"], second["recipe"]) == (None, "x86")
    assert first["default_recipe"] == second["default_recipe"] == "xnnpack"
    judged = OutputAccuracy("ok", 33.0, 0.1, 0.1, 0.9)
    worker.answers(handlens_main=ok("handlens_main", output=judged))
    assert "HL105 information: output 33.0 dB" in handlens(*check).out


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("reciep = 'x86'", "has no setting 'reciep'; there are recipe, select"),
        ("recipe = 3", "recipe is not a string: 3"),
        ("select = 'HL101'", "select is not a list of rule codes: 'HL101'"),
        ("ignore = ['HL9']", "ignore: no rule starts with HL9"),
        ("fail-under = 'high'", "fail-under is not a number"),
        ("warning-db = true", "warning-db is not a number"),
        ("warning-db = nan", "warning-db is not a number"),
        ("error-db = 25\nwarning-db = 20", "and has error-db = 25, warning-db = 20"),
        ("targets.a = 3", 'needs model = "module:callable"'),
    ],
)
def test_a_wrong_setting_is_named(handlens: Run, project: Path, toml: str, message: str) -> None:
    (project / "pyproject.toml").write_text(f"[tool.handlens]\n{toml}\n")
    result = handlens("check", "net.py")
    assert result.status == 2
    assert message in result.err
    assert str(project / "pyproject.toml") in result.err


# -- output ----------------------------------------------------------------------------------------


def test_json_is_a_document_that_can_be_loaded(handlens: Run, worker: StandIn) -> None:
    worker.answers(handlens_main=ok("handlens_main", finding("HL101", "warning")))
    arguments = ("check", "net.py::handlens_main", "--python", worker.python)
    result = handlens(*arguments, "--format", "json")
    assert result.status == 1
    document = report.load(result.out)
    assert document.torch == "2.13.0"
    assert document.reports == (ok("handlens_main", finding("HL101", "warning")),)


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_output_goes_to_a_file_without_colours(
    handlens: Run,
    worker: StandIn,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    output_format: str,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    arguments = ("check", "net.py::handlens_main", "--python", worker.python)
    result = handlens(*arguments, "--format", output_format, "--output", "result")
    assert (result.status, result.out) == (0, "")
    written = (project / "result").read_text()
    assert "handlens_main" in written
    assert "\x1b" not in written


def test_the_output_of_the_model_is_hidden_unless_asked_for(handlens: Run, worker: StandIn) -> None:
    arguments = ("check", "net.py::handlens_main", "--python", worker.python)
    assert handlens(*arguments).err == ""
    assert handlens(*arguments, "--verbose").err == "printed by handlens_main\n"


def test_what_to_know_of_the_versions_is_said_once(handlens: Run, worker: StandIn) -> None:
    worker.versions = ("3.10.13", "9.9.0", "0.18.0")
    worker.answers(handlens_main="die", handlens_other=ok("handlens_other"))
    result = handlens("check", "net.py", "--python", worker.python)
    assert worker.starts == 2
    untested, columns = result.err.splitlines()
    assert untested.startswith("torch 9.9.0 is untested: ")
    assert columns.startswith("Python 3.10.13 keeps no columns of expressions")
    assert "untested" not in result.out


def test_a_dead_worker_shows_its_last_output_and_is_replaced(
    handlens: Run, worker: StandIn
) -> None:
    worker.answers(handlens_main="die", handlens_other=ok("handlens_other"))
    result = handlens("check", "net.py", "--python", worker.python)
    assert result.status == 2
    assert "HL304 error: Running handlens_main failed" in result.out
    assert "  printed by handlens_main\n" in result.out
    assert "printed by handlens_other" not in result.out
    assert "net.py::handlens_other · recipe x86" in result.out
    assert worker.starts == 2


# -- other commands --------------------------------------------------------------------------------


def test_targets_are_listed_with_their_places(handlens: Run, project: Path) -> None:
    result = handlens("targets", "net.py")
    assert result.status == 0
    assert result.out == (
        "net.py:1:5: handlens_main (function)\nnet.py:5:5: handlens_other (function)\n"
    )


def test_targets_are_listed_as_json(handlens: Run, project: Path) -> None:
    result = handlens("targets", "--format", "json", "net.py")
    listed = json.loads(result.out)
    assert listed["version"] == 1
    assert listed["targets"][1] == {
        "name": "handlens_other",
        "kind": "function",
        "file": str(project / "net.py"),
        "line": 5,
        "column": 4,
        "end_column": 18,
        "references": {},
        "keep_float": [],
        "adjust": {},
    }


def test_a_rule_is_explained_where_nothing_else_can_be_opened(handlens: Run) -> None:
    result = handlens("rule", "hl105")
    assert result.status == 0
    assert result.out.startswith("# HL105 low-output\n\nThe output of the quantized model is under")
    assert "](" not in handlens("rule", "HL101").out


def test_rules_are_listed(handlens: Run) -> None:
    listed = handlens("rule").out.splitlines()
    assert [line.split()[0] for line in listed] == list(RULES)


def test_a_rule_that_there_is_not_is_an_error(handlens: Run) -> None:
    result = handlens("rule", "HL999")
    assert result.status == 2
    assert "There is no rule HL999. `handlens rule` lists them." in result.err


def test_a_file_without_targets_lists_none_and_says_how_to_declare_one(
    handlens: Run, project: Path
) -> None:
    (project / "empty.py").write_text("")
    result = handlens("targets", "empty.py")
    assert (result.status, result.out) == (0, "")
    assert "Add a function" in result.err


def test_targets_of_a_file_that_does_not_parse_cannot_be_told(handlens: Run, project: Path) -> None:
    (project / "broken.py").write_text("def f(:\n")
    result = handlens("targets", "broken.py")
    assert result.status == 2
    assert "broken.py does not parse" in result.err


def test_help_and_version_are_status_0(handlens: Run) -> None:
    assert "check" in handlens("--help").out
    assert "--fail-under" in handlens("check", "--help").out
    assert handlens("--version").out.startswith("handlens, version 0.")


# -- handlens server -------------------------------------------------------------------------------


def test_the_server_is_started_by_the_entry_point_of_its_package(
    handlens: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(tmp_path, "server = a_server:serve")
    (tmp_path / "a_server.py").write_text(
        "def serve(arguments):\n    print(arguments)\n    return 3\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    result = handlens("server", "--stdio", "x")
    assert (result.status, result.out) == (3, "['--stdio', 'x']\n")


def test_without_a_server_it_says_how_to_install_one(
    handlens: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    result = handlens("server", "--stdio")
    assert result.status == 2
    assert result.err.startswith(
        f"handlens: error: no language server is installed for {sys.executable}\n"
    )
    assert "python -m pip install handlens" in result.err


def test_this_project_declares_the_server(tmp_path: Path) -> None:
    declared = tomlkit.parse((ROOT / "pyproject.toml").read_text()).unwrap()["project"][
        "entry-points"
    ]
    (line,) = (f"{name} = {value}" for name, value in declared["handlens.commands"].items())
    install(tmp_path, line)
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    ended = subprocess.run(
        [sys.executable, "-m", "handlens", "server", "--version"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
    assert ended.stdout == f"{__version__}\n"


def install(folder: Path, entry_point: str) -> None:
    """Write the metadata that an installer writes for a package with this entry point."""
    metadata = folder / "a_server-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: a-server\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[handlens.commands]\n{entry_point}\n")


# -- processes -------------------------------------------------------------------------------------


def test_torch_is_not_imported(project: Path) -> None:
    program = """
import sys
from handlens import cli
try:
    cli.main(["targets", "net.py"])
finally:
    heavy = {"torch", "torchao", "numpy", "pygls"} & sys.modules.keys()
    print("imported", sorted(heavy))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    assert ended.stdout.endswith("imported []\n")


def test_an_interrupt_cancels_the_run_and_exits_with_130(worker: StandIn) -> None:
    worker.answers(handlens_main="hang")
    command = ["check", "net.py::handlens_main", "--python", worker.python, "--verbose"]
    process = subprocess.Popen(
        [sys.executable, "-m", "handlens", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "printed by handlens_main\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert (out, err.strip()) == ("", "Cancelled.")
    assert [list(message) for message in worker.messages] == [["run", "request"], ["cancel"]]


@pytest.mark.torch
def test_real_models_are_checked(handlens: Run, project: Path) -> None:
    (project / "real.py").write_text(
        dedent("""\
        import os

        import torch
        from torch import nn


        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1 = nn.Conv2d(3, 8, 3)
                self.conv2 = nn.Conv2d(8, 8, 3)
                with torch.no_grad():
                    self.conv1.weight[0] *= 200.0
                    self.conv2.weight[:, 0] /= 200.0

            def forward(self, x):
                return self.conv2(self.conv1(x))


        def handlens_dies():
            print("last words")
            os.abort()


        def handlens_net():
            torch.manual_seed(0)
            return Net(), (torch.randn(2, 3, 16, 16),)
        """)
    )
    result = handlens("check", "real.py")
    assert result.status == 2
    assert "SIGABRT" in result.out
    assert "  last words\n" in result.out
    column = 16 if HAS_COLUMNS else 9
    assert f"real.py:17:{column}: HL101 error: conv2d" in result.out
    assert "compared      2 of 2 ops" in result.out
