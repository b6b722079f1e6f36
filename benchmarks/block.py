"""Measure all rows in one environment, and print each as a JSON object on a line of its own.

The argument is ``{"only": […], "measures": […], "quick": …}``. This process imports torch and runs nothing.
It forks a process for every row, so that no row inherits the heap, the caches or the threads of another.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import TextIO

from benchmarks import rows
from benchmarks.measuring import QUICK, THOROUGH, Effort
from benchmarks.rows import Row, Task
from benchmarks.workloads import WORKLOADS

_PATIENCE_S = 900
_fork = multiprocessing.get_context("fork")


def main(settings: str) -> None:
    given = json.loads(settings)
    effort = QUICK if given["quick"] else THOROUGH
    # Libraries may print, too; their output must not get between the rows.
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        for name in given["only"] or WORKLOADS:
            for task in rows.tasks(WORKLOADS[name], given["measures"]):
                _write(_in_fresh_process(task, effort), output)


def _write(row: Row, output: TextIO) -> None:
    output.write(json.dumps(asdict(row)) + "\n")
    output.flush()


def _in_fresh_process(task: Task, effort: Effort) -> Row:
    receiver, sender = _fork.Pipe(duplex=False)
    process = _fork.Process(target=_send, args=(task, effort, sender))
    process.start()
    sender.close()
    row = task.row
    try:
        if receiver.poll(_PATIENCE_S):
            received: Row = receiver.recv()
            return received
        process.kill()
        reason = f"took longer than {_PATIENCE_S} s"
    except EOFError:
        process.join()
        reason = f"its process ended with status {process.exitcode}"
    finally:
        process.join()
    return Row(row.workload, row.measure, row.contender, error=reason)


def _send(task: Task, effort: Effort, sender: Connection) -> None:
    sender.send(rows.make(task, effort))


if __name__ == "__main__":
    main(sys.argv[1])
