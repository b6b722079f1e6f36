"""Whatever the model does to the process that it is run in: it is told at the line, if there is one; what
the last good run found stays, marked; the next run is fine; and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psutil
import pytest
import pytest_asyncio

from tests.reliability.session import (
    KEPT,
    MODEL,
    STANDBY,
    Footprint,
    Seen,
    Session,
    eventually,
    session,
    with_code,
)
from tests.server.conftest import GUARD_S

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif("sys.platform != 'linux'", reason="what is counted is counted on Linux"),
]

DEADLINE_S = 60

forking = pytest.mark.skipif(
    STANDBY, reason="no process but the server's own is between it and a run"
)
standing_by = pytest.mark.skipif(not STANDBY, reason="no interpreter stands by")


@dataclass(frozen=True)
class Fault:
    """Code that goes wrong, and what is said about it."""

    code: str
    rule: str
    says: str
    line: str = "def handlens_tiny"
    """The text of the line that it is told at."""
    standby_line: str = ""
    """The same where an interpreter stands by for each run; empty if there is no difference."""
    where: str = "building"
    deadline: float = DEADLINE_S


def dies(code: str, says: str, line: str = "def handlens_tiny", **more: str) -> Fault:
    return Fault(code, "HL304", says, line, **more)  # type: ignore[arg-type]


def hangs(code: str, line: str, standby_line: str = "") -> Fault:
    return Fault(
        code, "HL304", "it ran for more than 1 s", line, standby_line=standby_line, deadline=1
    )


def raises(code: str, says: str, line: str, rule: str = "HL301", where: str = "building") -> Fault:
    return Fault(code, rule, says, line, where=where)


SEGMENTATION_FAULT = "ctypes.string_at(0)"
DRAWING = "import tqdm\ntqdm.tqdm.get_lock().acquire()\n"
HANG = "def hang(*_):\n    while True: time.sleep(1)\n"
ALL_SIGNALS = (
    "for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:\n"
    "    signal.signal(each, hang)\n"
)

FAULTS = {
    # It dies.
    "segmentation fault": dies(SEGMENTATION_FAULT, "killed by SIGSEGV", SEGMENTATION_FAULT),
    "segmentation fault in an export": dies(
        SEGMENTATION_FAULT, "killed by SIGSEGV", SEGMENTATION_FAULT, where="running"
    ),
    "segmentation fault behind a kept export": dies(
        SEGMENTATION_FAULT, "killed by SIGSEGV", SEGMENTATION_FAULT, where="evaluating"
    ),
    "stack overflow": dies(
        "sys.setrecursionlimit(1 << 30)\n"
        "type('Deep', (), {'__getattr__': lambda self, name: getattr(self, 'x')})().x",
        "killed by SIGSEGV",
        "type('Deep'",
    ),
    "os._exit": dies("os._exit(7)", "ended with exit status 7"),
    "os._exit as if all were well": dies(
        "os._exit(0)", "ended with exit status 0", where="evaluating"
    ),
    "killed while it draws a progress bar": dies(
        f"{DRAWING}os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"
    ),
    "ended behind a kept export while it draws a progress bar": dies(
        f"{DRAWING}os._exit(0)", "ended with exit status 0", where="evaluating"
    ),
    "abort": dies("os.abort()", "killed by SIGABRT", "os.abort()"),
    "abort in C++": dies(
        "ctypes.CDLL('libstdc++.so.6')._ZSt9terminatev()", "killed by SIGABRT", "ctypes.CDLL"
    ),
    "killed, as when memory is short": dies(
        "os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL, as the system does"
    ),
    "signal without a name": dies("os.kill(os.getpid(), 40)", "killed by signal 40"),
    "all files closed": dies("os.closerange(3, 256)", "ended with exit status 1"),
    # It does not end.
    "endless loop in Python": hangs("while True: pass", "while True: pass"),
    "endless loop in C": hangs("sum(itertools.repeat(0))", "sum(itertools.repeat(0))"),
    "deadlock": hangs(
        "lock = threading.Lock()\nlock.acquire()\nlock.acquire()", "lock.acquire()\n    torch"
    ),
    "waiting for a child": hangs("subprocess.run(['sleep', '1000'])", "subprocess.run"),
    "stopped": hangs("os.kill(os.getpid(), signal.SIGSTOP)", "def handlens_tiny"),
    # A fork is told by a signal to write its stack.
    "handlers of all signals that hang": hangs(
        HANG + ALL_SIGNALS + "hang()", "def handlens_tiny", "while True: time"
    ),
    "output that cannot be flushed": hangs(
        HANG + "class Output:\n    write = flush = hang\nsys.stdout = Output()", "while True: time"
    ),
    # It raises.
    "sys.exit": raises("sys.exit(3)", "it called sys.exit(3)", "sys.exit(3)"),
    "sys.exit in an export": raises(
        "sys.exit(3)", "it called sys.exit(3)", "sys.exit(3)", "HL302", "running"
    ),
    "sys.exit behind a kept export": raises(
        "sys.exit(3)", "it called sys.exit(3)", "sys.exit(3)", "HL303", "evaluating"
    ),
    "KeyboardInterrupt": raises("raise KeyboardInterrupt", "KeyboardInterrupt", "raise Keyboard"),
    "exception without a readable message": raises(
        "class Odd(Exception):\n    def __str__(self): raise Odd\n    __repr__ = __str__\nraise Odd",
        "Odd (and its message cannot be read)",
        "raise Odd\n    torch",
    ),
    "sys.exit without a readable status": raises(
        "class Odd:\n    def __repr__(self): raise ValueError\nsys.exit(Odd())",
        "SystemExit (and its message cannot be read)",
        "sys.exit(Odd())",
    ),
    "SyntaxError of somewhere else": raises(
        "error = SyntaxError('odd')\nerror.filename, error.lineno = object(), 'three'\nraise error",
        "SyntaxError: odd",
        "raise error",
    ),
    "message of 20 MB": raises("raise ValueError('x' * 20_000_000)", "xxx", "raise ValueError"),
    "recursion": raises("def again(): again()\nagain()", "RecursionError", "def again(): again()"),
    "more memory than allowed, in torch": raises(
        "torch.ones(1 << 30)", "handlens.memoryLimit", "torch.ones(1 << 30)"
    ),
    "more memory than allowed, in Python": raises(
        "bytearray(1 << 32)", "handlens.memoryLimit", "bytearray(1 << 32)"
    ),
}

HARMLESS = {
    "100 MB printed by C": (
        "megabyte = (b'x' * 79 + b'\\n') * 13_108\n"
        "for _ in range(50):\n"
        "    for fd in (1, 2):\n"
        "        ctypes.CDLL(None).write(fd, megabyte, len(megabyte))"
    ),
    "10 MB printed without a line end": "os.write(1, b'x' * 10_000_000)",
    "standard input read": "assert sys.stdin.read() == '' and ctypes.CDLL(None).getchar() == -1",
    "handlers of all signals": HANG + ALL_SIGNALS,
    "children that nobody waits for": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "exit handlers that hang": (
        HANG + "atexit.register(hang)\nthreading._register_atexit(hang)\n"
        "hold = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(hang)\n"
        "assert ctypes.CDLL(None).__cxa_atexit(hold, None, None) == 0"
    ),
    "folder that is gone": "os.chdir(tempfile.mkdtemp())\nos.rmdir(os.getcwd())",
    "streams replaced": "sys.stdout, sys.stderr, sys.__stdout__ = None, object(), 3",
    "streams closed": "sys.stdout.close()\nos.close(0)\nos.close(1)\nos.close(2)",
    "thread that waits": "threading.Thread(target=threading.Event().wait).start()",
    "thread that is busy": "threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
    "threads of torch": "torch.set_num_threads(7)\ntorch.ones(1 << 20).sum()",
    "environment": "os.environ.clear()\nos.environ['PATH'] = '/nowhere'",
    "torch changed": "nn.Module.changed = True\ntorch.ops.changed = True",
    "fork that waits": "if os.fork() == 0: signal.pause()",
    "fork that goes on": "os.fork()",
    "child": "subprocess.Popen(['sleep', '1000'])",
    "child in a session of its own": "subprocess.Popen(['sleep', '1000'], start_new_session=True)",
    "daemon": "subprocess.run(['sh', '-c', 'setsid sleep 1000 & setsid sleep 1000 &'])",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Session]:
    async with session(tmp_path_factory.mktemp("faults"), memoryLimit=2048) as shared:
        yield shared
        assert not shared.client.messages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def good(shared: Session) -> Seen:
    """What a good run shows; every test ends with one."""
    return shared.seen(await shared.run(MODEL + "# again\n"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def before(shared: Session, good: Seen) -> Footprint:
    """The footprint after a good run: the server, its worker, and the process that keeps the export.

    Two processes for each interpreter, where these stand by: one sees to it that the other ends.
    """
    await eventually(lambda: shared.footprint().processes == (5 if STANDBY else 3))
    return shared.footprint()


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_told_and_over(
    shared: Session, good: Seen, before: Footprint, name: str
) -> None:
    fault = FAULTS[name]
    shared.configure(memoryLimit=2048, deadline=fault.deadline)
    text = with_code(fault.code, fault.where)
    found = await shared.run(text)
    kept = [each for each in found if KEPT in each.message]
    [error] = [each for each in found if each not in kept]
    assert error.code == fault.rule
    assert fault.says in error.message
    line = (STANDBY and fault.standby_line) or fault.line
    assert error.range.start.line == text[: text.index(line)].count("\n")
    assert shared.seen(kept) == good

    shared.configure(memoryLimit=2048, deadline=DEADLINE_S)
    assert shared.seen(await shared.run(MODEL)) == good
    assert await shared.settles(before) == before


@pytest.mark.parametrize("name", HARMLESS)
async def test_what_a_run_does_to_its_process_ends_with_it(
    shared: Session, good: Seen, before: Footprint, name: str
) -> None:
    assert shared.seen(await shared.run(with_code(HARMLESS[name], "building"))) == good
    assert shared.seen(await shared.run(MODEL)) == good
    assert await shared.settles(before) == before


async def test_of_much_output_the_log_has_the_beginning(shared: Session) -> None:
    shared.client.logged.clear()
    await shared.run(with_code(HARMLESS["100 MB printed by C"], "building"))
    await shared.client.until(
        lambda: any("is left out" in each.message for each in shared.client.logged)
    )
    await shared.run(with_code("print('after it')", "building"))
    await shared.client.until(
        lambda: any("after it" in each.message for each in shared.client.logged)
    )
    assert sum(len(each.message) for each in shared.client.logged) < 1 << 20


@forking
async def test_a_worker_that_dies_takes_all_with_it_and_is_replaced(
    shared: Session, good: Seen, before: Footprint
) -> None:
    murder = HARMLESS["daemon"] + "\nos.kill(os.getppid(), signal.SIGKILL)\nsignal.pause()"
    [error] = [
        each for each in await shared.run(with_code(murder, "building")) if KEPT not in each.message
    ]
    assert "the worker process was killed by SIGKILL" in error.message
    assert shared.seen(await shared.run(MODEL)) == good
    assert await shared.settles(before) == before


@forking
async def test_a_worker_that_hangs_is_replaced(
    shared: Session, good: Seen, before: Footprint
) -> None:
    shared.configure(memoryLimit=2048, deadline=1)
    stopped = shared.worker
    text = with_code("os.kill(os.getppid(), signal.SIGSTOP)\nsignal.pause()", "building")
    [error] = [each for each in await shared.run(text) if KEPT not in each.message]
    assert "it ran for more than 1 s" in error.message
    assert not (await asyncio.to_thread(psutil.wait_procs, [stopped], GUARD_S))[1]
    shared.configure(memoryLimit=2048, deadline=DEADLINE_S)
    assert shared.seen(await shared.run(MODEL)) == good
    assert await shared.settles(before) == before


@standing_by
async def test_an_interpreter_that_dies_while_it_stands_by_is_replaced(
    shared: Session, good: Seen, before: Footprint
) -> None:
    idle = await shared.until_it_stands_by()
    idle.kill()
    await eventually(lambda: not idle.is_running())
    assert shared.seen(await shared.run(MODEL + "number = 1\n")) == good
    assert await shared.settles(before) == before


@standing_by
async def test_an_interpreter_that_hangs_while_it_stands_by_is_replaced(
    shared: Session, good: Seen, before: Footprint
) -> None:
    shared.configure(memoryLimit=2048, deadline=1)
    stopped = await shared.until_it_stands_by()
    stopped.suspend()
    [error] = [
        each for each in await shared.run(MODEL + "number = 2\n") if KEPT not in each.message
    ]
    assert "it ran for more than 1 s" in error.message
    assert not (await asyncio.to_thread(psutil.wait_procs, [stopped], GUARD_S))[1]
    shared.configure(memoryLimit=2048, deadline=DEADLINE_S)
    assert shared.seen(await shared.run(MODEL)) == good
    assert await shared.settles(before) == before


async def test_kills_at_random_moments_end_with_the_right_result(
    shared: Session, good: Seen, before: Footprint, request: pytest.FixtureRequest
) -> None:
    kills = request.config.getoption("--kills", None) or 25
    throws, killed = random.Random(1), Counter[str]()
    while killed.total() < kills:
        if throws.random() < 0.3:
            # The last export may be of use.
            recipe = throws.choice(("x86", "bf16"))
            shared.configure(memoryLimit=2048, deadline=DEADLINE_S, recipe=recipe)
        else:
            text = MODEL + f"number = {killed.total()}\n"
            shared.client.save(shared.document, text)
        await asyncio.sleep(throws.uniform(0, 0.5))
        with contextlib.suppress(ValueError, IndexError, psutil.NoSuchProcess):
            # A worker takes its time to start again, the more the more of them die.
            runs = shared.runs()
            victim = shared.worker if throws.random() < 0.02 else throws.choice(runs)
            victim.kill()
            killed["worker" if victim not in runs else "run"] += 1
    shared.configure(memoryLimit=2048, deadline=DEADLINE_S)
    assert shared.seen(await shared.run(MODEL)) == good, killed
    assert await shared.settles(before) == before
    # A worker that died while it started could not take its run: that is told.
    told = [each.message for each in shared.client.messages]
    assert all("the worker process was killed by SIGKILL" in each for each in told)
    assert len(told) <= killed["worker"]
    shared.client.messages.clear()
    print(f"killed: {dict(killed)}")
