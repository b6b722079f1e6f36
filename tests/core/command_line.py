"""Runs the command line with a stand-in for the worker, which answers what a test tells it to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlens.dataclass_json import to_json
from handlens.report import (
    Advice,
    Coverage,
    Finding,
    OutputAccuracy,
    Report,
    Severity,
    Span,
    Verification,
)

ROOT = Path(__file__).parents[2]
MODEL = """\
def handlens_main():
    return 1


def handlens_other():
    return 2
"""

STAND_IN = '''\
#!{python}
"""Speaks the worker's protocol; the answers are in a file beside this one."""
import json, os, pathlib, sys

here = pathlib.Path(__file__).parent
answers = json.loads((here / "answers.json").read_text())


def say(**message):
    print(json.dumps(message), flush=True)


with open(here / "started", "a") as log:
    log.write("x")
if "unusable" in answers:
    say(event="unusable", message=answers["unusable"])
    sys.exit()
say(event="ready", process=os.getpid(), **answers["versions"])
for line in sys.stdin:
    message = json.loads(line)
    with open(here / "requests", "a") as log:
        log.write(line)
    if "cancel" in message:
        say(event="cancelled", run=message["cancel"])
        continue
    name = message["request"]["target"]["name"]
    say(event="stage", run=message["run"], stage="export")
    print("printed by", name, file=sys.stderr, flush=True)
    answer = answers[name]
    if answer == "die":
        os._exit(3)
    for advice in answers["advice"]:
        say(event="advice", run=message["run"], advice=advice)
        print("has sent its advice", file=sys.stderr, flush=True)
    if answer == "edit":
        with open(message["request"]["target"]["file"], "a") as file:
            file.write("\\n")
        answer = answers["handlens_other"]
    if answer != "hang":
        say(event="report", run=message["run"], report=answer)
'''


@dataclass
class StandIn:
    """A worker that answers what it was told to."""

    folder: Path
    versions: tuple[str, str, str] = ("3.12.1", "2.13.0", "0.18.0")
    """Of Python, torch and torchao."""

    @property
    def python(self) -> str:
        return str(self.folder / "python")

    def answers(self, *advice: Advice, **answers: Report | str) -> None:
        """Answer for each target with a report, "die", "hang" or "edit"; before that with ``advice``."""
        data: dict[str, Any] = {
            name: to_json(a) if isinstance(a, Report) else a for name, a in answers.items()
        }
        data["versions"] = dict(zip(("python", "torch", "torchao"), self.versions))
        data["advice"] = [to_json(each) for each in advice]
        (self.folder / "answers.json").write_text(json.dumps(data))

    @property
    def messages(self) -> list[dict[str, Any]]:
        log = self.folder / "requests"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [message["request"] for message in self.messages if "request" in message]

    @property
    def starts(self) -> int:
        return len((self.folder / "started").read_text())


@dataclass
class Result:
    status: int
    out: str
    err: str


Run = Callable[..., Result]


def ok(
    target: str = "handlens_main",
    *findings: Finding,
    output: OutputAccuracy | None = None,
    verified: Verification | None = None,
) -> Report:
    return Report(
        *(target, os.path.abspath("net.py"), "x86", "ok"),
        output=output or OutputAccuracy("ok", 25.0, 0.1, 0.2, 0.9),
        batches=1,
        # A report without measurements is judged no more.
        coverage=None if findings else Coverage(3, 3, 3),
        findings=findings,
        timings={"load": 0.1},
        verified=verified,
    )


def finding(rule: str, severity: Severity) -> Finding:
    span = Span(os.path.abspath("net.py"), 2, 4, 2, 12)
    return Finding(rule, severity, "conv2d 12.3 dB", 1, span)


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "core"), str(ROOT / "server")])
    return {**os.environ, "PYTHONPATH": path}
