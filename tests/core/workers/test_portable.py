"""What runs on a system without forks, process groups and POSIX' modules asks for none of them.

No such system is at hand: the names that it lacks are hidden here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import handlens
import handlens_server

SOURCES = os.pathsep.join(
    str(Path(package.__path__[0]).parent) for package in (handlens, handlens_server)
)

# Libraries that decide by what they find, and have decided, are imported before.
HIDING = """\
import asyncio, ctypes, os, select, selectors, signal, subprocess, sys, threading
{before}
for name in ("fcntl", "grp", "posix_spawn", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for module, names in {{
    os: "fork forkpty getpgrp getppid killpg mkfifo pidfd_open posix_spawn set_blocking setpgid setsid "
        "waitid waitpid WIFSIGNALED WNOHANG WTERMSIG wait",
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGSTOP SIGXCPU setitimer set_wakeup_fd valid_signals",
    select: "poll epoll",
}}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
{after}
"""

CLIENT = """
import handlens.cli, handlens.cli.check, handlens.cli.running, handlens.workers.client
import handlens.workers.standing_by, handlens.workers.crashes
"""
SERVER = "import handlens_server.server"
RUN = """
from dataclasses import asdict
from handlens.request import RunRequest
from handlens.targets import discover
from handlens.workers import standby
text = "import torch\\ndef handlens_x():\\n    return torch.nn.Linear(4, 4), (torch.ones(2, 4),)\\n"
request = asdict(RunRequest(discover(text, "model.py")[0], text))
standby.processes.end_group = lambda: None
requests, ours = os.pipe()
os.write(ours, standby.wire.encode({"run": 1, "request": request, "deadline": 60}))
os.dup2(requests, 0)
standby.main()
"""


def runs_without_posix(before: str, after: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", HIDING.format(before=before, after=after)],
        # Windows names the user there; Python looks into ``pwd`` where nothing does.
        env={**os.environ, "PYTHONPATH": SOURCES, "USERNAME": "user"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("imports", [CLIENT, SERVER])
def test_the_client_is_imported_without_posix(imports: str) -> None:
    runs_without_posix("", imports)


def test_an_interpreter_that_stands_by_runs_without_posix() -> None:
    libraries = "import torch, torchao.quantization.pt2e.quantize_pt2e"
    said = runs_without_posix(libraries, RUN)
    assert '"event": "report"' in said
    assert '"status": "ok"' in said
