"""``handlens advise``: what it asks for, what it tells, what it writes into a target, how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from handlens import report
from handlens.advice_report import Advice, Alone, Change, Cost, Scores, Step
from handlens.report import Failure, failed
from tests.core.command_line import ROOT, Run, StandIn, environment, ok

CONV = Change("keep-float", ("conv2",), (4,), "conv2")
BETTER = Scores(39.46)
ADVICE = Advice(
    Scores(9.16),
    steps=(Step(CONV, BETTER, Cost(0.45, 0.04), True),),
    alone=(Alone(CONV, BETTER, Cost(0.45, 0.04)),),
    units=6,
    measurements=9,
    seconds=1.2,
)


def advised(advice: Advice = ADVICE, target: str = "handlens_main") -> report.Report:
    return replace(ok(target), advice=advice)


# -- what is asked for, what is told ---------------------------------------------------------------


def test_the_wish_the_budget_and_the_recipe_reach_the_worker(
    handlens: Run, worker: StandIn
) -> None:
    worker.answers(handlens_main=advised())
    target = "net.py::handlens_main"
    wish = ("--reach", 40, "--budget", 2.5, "--recipe", "xnnpack")
    assert handlens("advise", target, *wish, "--python", worker.python).status == 0
    (request,) = worker.requests
    assert request["advise"]["reach_db"] == 40
    assert request["advise"]["budget_s"] == 2.5
    assert request["recipe"] == "xnnpack"


def test_a_check_asks_for_no_advice(handlens: Run, worker: StandIn) -> None:
    handlens("check", "net.py::handlens_main", "--python", worker.python)
    assert worker.requests[0]["advise"] is None


def test_every_target_of_a_file_is_advised(handlens: Run, worker: StandIn) -> None:
    worker.answers(
        handlens_main=advised(), handlens_other=advised(replace(ADVICE, steps=()), "handlens_other")
    )
    result = handlens("advise", "net.py", "--python", worker.python)
    assert result.status == 0
    first, second = result.out.split("net.py::handlens_other")
    assert "keep conv2 in float" in first
    assert 'to paste      "keep_float": ["conv2"],' in first
    assert "Nothing that was tried wins enough to be worth a change" in second
    assert "to paste" not in second


@pytest.mark.parametrize(
    ("advice", "status"),
    [
        (replace(ADVICE, reach_db=39.4), 0),
        (replace(ADVICE, reach_db=40.0), 1),
        (replace(ADVICE, reach_db=9.0, steps=()), 0),
        (replace(ADVICE, reach_db=40.0, before=Scores(None, exact=True), steps=()), 0),
        (replace(ADVICE, complete=False), 0),
        (replace(ADVICE, steps=()), 0),
        (Advice(Scores(None), reason="the outputs cannot be compared"), 2),
    ],
)
def test_the_status_says_whether_the_wish_is_reached(
    handlens: Run, worker: StandIn, advice: Advice, status: int
) -> None:
    worker.answers(handlens_main=advised(advice))
    result = handlens("advise", "net.py::handlens_main", "--python", worker.python)
    assert result.status == status


def test_a_run_that_fails_is_shown_as_a_check_shows_it(handlens: Run, worker: StandIn) -> None:
    error = Failure("HL302", "Exporting Net failed", None, "")
    worker.answers(handlens_main=failed("handlens_main", "net.py", "", error))
    result = handlens("advise", "net.py::handlens_main", "--python", worker.python)
    assert result.status == 2
    assert "Exporting Net failed" in result.out


def test_a_file_without_a_target_is_told_how_to_declare_one(handlens: Run, project: Path) -> None:
    (project / "empty.py").write_text("x = 1\n")
    result = handlens("advise", "empty.py")
    assert result.status == 2
    assert "Add a function `handlens_<name>()`" in result.err


def test_json_has_the_advice(handlens: Run, worker: StandIn) -> None:
    worker.answers(handlens_main=advised())
    command = ("advise", "net.py::handlens_main", "--python", worker.python, "--format", "json")
    assert report.load(handlens(*command).out).reports[0].advice == ADVICE


def test_a_page_has_the_advice(handlens: Run, worker: StandIn, project: Path) -> None:
    worker.answers(handlens_main=advised())
    command = ("advise", "net.py::handlens_main", "--python", worker.python, "--format", "html")
    assert handlens(*command, "--output", "advice.html").out == ""
    assert "keep conv2 in float" in (project / "advice.html").read_text()


@pytest.mark.parametrize(
    ("output_format", "shown"), [("text", "keep conv2 in float"), ("json", None)]
)
def test_an_interrupt_shows_what_was_found_so_far(
    worker: StandIn, output_format: str, shown: str | None
) -> None:
    worker.answers(replace(ADVICE, complete=False), handlens_main="hang")
    command = ["advise", "net.py::handlens_main", "--python", worker.python, "--verbose"]
    process = subprocess.Popen(
        [sys.executable, "-m", "handlens", *command, "--format", output_format],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "printed by handlens_main\n"
    assert process.stderr.readline() == "has sent its advice\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert err.strip() == "Cancelled."
    if shown is None:
        assert out == ""
    else:
        assert shown in out
        assert "The search was ended before it was complete" in out


# -- what is written -------------------------------------------------------------------------------


FUNCTION = """\
# -*- coding: latin-1 -*-
def handlens_main():
    model = 1  # \xe9
    return {"model": model, "example_inputs": ()}
"""
CHANGED = FUNCTION.replace("()}", '(), "keep_float": ["conv2"]}')


def test_the_changes_are_written_and_the_target_is_run_again(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    (project / "net.py").write_bytes(FUNCTION.replace("\n", "\r\n").encode("latin-1"))
    worker.answers(handlens_main=advised())
    result = handlens("advise", "net.py", "--python", worker.python, "--apply", "--recipe", "arm")
    assert (project / "net.py").read_bytes() == CHANGED.replace("\n", "\r\n").encode("latin-1")
    assert '  -    return {"model": model, "example_inputs": ()}\n' in result.out
    assert (
        '  +    return {"model": model, "example_inputs": (), "keep_float": ["conv2"]}\n'
        in result.out
    )
    assert result.out.endswith("net.py::handlens_main: output 25.0 → 25.0 dB\n")
    searched, compared = worker.requests
    assert searched["advise"]
    assert compared["advise"] is None
    assert compared["text"] == CHANGED
    assert compared["recipe"] == "arm"
    assert result.status == 0


def test_two_targets_of_a_file_are_both_changed(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    (project / "net.py").write_text(
        "def handlens_main():\n    return 1, ()\n\n\ndef handlens_other():\n    return 2, ()\n"
    )
    worker.answers(handlens_main=advised(), handlens_other=advised(target="handlens_other"))
    assert handlens("advise", "net.py", "--python", worker.python, "--apply").status == 0
    assert (project / "net.py").read_text().count('"keep_float": ["conv2"]') == 2


def test_a_configured_target_is_changed_where_it_is_declared(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    declared = '[tool.handlens.targets."é"]\nmodel = "bare:Net"  # mine\n'
    (project / "pyproject.toml").write_text(declared, "utf-8")
    (project / "bare.py").write_text("class Net: ...\n")
    adjust = Change("activation-16-bit", ("conv1",), (1,), "conv1")
    steps = (*ADVICE.steps, Step(adjust, BETTER, Cost(0.0, 0.0), True))
    worker.answers(é=advised(replace(ADVICE, steps=steps), "é"))
    result = handlens("advise", "bare.py", "--python", worker.python, "--apply")
    assert (project / "pyproject.toml").read_text("utf-8") == (
        f'{declared}keep_float = ["conv2"]\nadjust = {{conv1 = "activation-16-bit"}}\n'
    )
    assert result.status == 0
    assert "pyproject.toml:\n" in result.out
    assert (project / "bare.py").read_text() == "class Net: ...\n"


def test_a_target_that_cannot_be_edited_is_left_alone_and_the_reason_told(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    text = (project / "net.py").read_text()
    worker.answers(handlens_main=advised())
    result = handlens("advise", "net.py::handlens_main", "--python", worker.python, "--apply")
    assert result.status == 2
    assert "does not return a pair or a mapping that is written out" in result.err
    assert 'to paste: "keep_float": ["conv2"],' in result.err
    assert (project / "net.py").read_text() == text
    assert len(worker.requests) == 1


def test_a_target_that_was_edited_during_the_search_is_left_alone(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    (project / "net.py").write_text(FUNCTION, "latin-1")
    worker.answers(handlens_main="edit", handlens_other=advised())
    result = handlens("advise", "net.py::handlens_main", "--python", worker.python, "--apply")
    assert result.status == 2
    assert "edited meanwhile" in result.err
    assert (project / "net.py").read_text("latin-1") == FUNCTION + "\n"


def test_where_nothing_is_recommended_nothing_is_written(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    (project / "net.py").write_text(FUNCTION, "latin-1")
    worker.answers(handlens_main=advised(replace(ADVICE, steps=())))
    assert handlens("advise", "net.py", "--python", worker.python, "--apply").status == 0
    assert (project / "net.py").read_text("latin-1") == FUNCTION
    assert len(worker.requests) == 1


def test_a_document_stays_alone_on_standard_output(
    handlens: Run, worker: StandIn, project: Path
) -> None:
    (project / "net.py").write_text(FUNCTION, "latin-1")
    worker.answers(handlens_main=advised())
    command = ("advise", "net.py", "--python", worker.python, "--format", "json")
    result = handlens(*command, "--apply")
    assert json.loads(result.out)
    assert "output 25.0 → 25.0 dB" in result.err


# -- real models -----------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.slow
def test_a_real_target_is_repaired(handlens: Run, project: Path) -> None:
    shutil.copy(ROOT / "examples" / "tiny_cnn.py", project)
    result = handlens("advise", "tiny_cnn.py", "--reach", 30, "--apply")
    assert result.status == 0
    assert "30 dB is reached with 1 change." in result.out
    assert "tiny_cnn.py::handlens_tiny: output 9.2 → 42." in result.out
    again = handlens("advise", "tiny_cnn.py", "--reach", 30)
    assert "30 dB is reached without any change." in again.out


@pytest.mark.torch
@pytest.mark.slow
def test_a_budget_ends_the_search_of_a_real_target(handlens: Run, project: Path) -> None:
    shutil.copy(ROOT / "examples" / "tiny_cnn.py", project)
    result = handlens("advise", "tiny_cnn.py", "--budget", 0)
    assert result.status == 0
    assert "The search was ended before it was complete" in result.out
