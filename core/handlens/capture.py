"""Export a model, and know for every operation which source expressions called it.

Non-strict export runs the user's code, so the interpreter itself can be asked. A torch function mode
sees every call into torch before it is traced; it notes the caller's frames and annotates the nodes that
come of the call with the number of that note. The annotation is in ``node.meta["custom"]``, which
survives ``module()``, preparation, conversion and decomposition.

Strict export, and the bodies of cond, map, scan and while_loop, are traced by Dynamo, which executes
bytecode symbolically and calls no mode. Its nodes are annotated, in the same way, with the frames that it
was executing. What neither has annotated has the lines of its stack trace.
"""

from __future__ import annotations

import itertools
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from types import CodeType
from typing import Any

import torch
import torchao
from torch.fx.traceback import annotate, preserve_node_meta
from torch.overrides import TorchFunctionMode

from handlens.handles import CUSTOM_KEY, graph_modules
from handlens.paddings import write_paddings_as_numbers
from handlens.report import Span

CALL_KEY = "handlens_call"

# Frames of these are how a call got done, not where it was made.
_MACHINERY = tuple(
    os.path.join(os.path.abspath(folder), "")
    for folder in (*torch.__path__, *torchao.__path__, os.path.dirname(__file__))
)
_STANDARD_LIBRARY = os.path.join(sysconfig.get_path("stdlib"), "")
_PACKAGE_FOLDERS = re.compile(r"[/\\](site|dist)-packages[/\\]")


# What is asked of tensors all the time while they are traced, and leaves no node that could be annotated.
_QUESTIONS = frozenset(
    (
        *(
            getattr(torch.Tensor, name).__get__
            for name in (
                "device",
                "dtype",
                "grad",
                "grad_dtype",
                "is_leaf",
                "is_mkldnn",
                "is_nested",
                "is_quantized",
                "is_sparse",
                "layout",
                "requires_grad",
            )
        ),
        torch.Tensor._is_view,
        torch.Tensor.is_conj,
        torch.Tensor.is_inference,
        torch.Tensor.is_neg,
        torch.Tensor.untyped_storage,
    )
)

Frame = tuple[str, CodeType, int]
"""File, code object, and instruction offset. Equal code in two files is one and the same to Python."""


@dataclass(frozen=True)
class Captured:
    """An exported program, and the source frames behind each of its annotated calls."""

    program: torch.export.ExportedProgram
    strict: bool
    frames: tuple[tuple[Frame, ...], ...]
    """For each call, by number: its frames, innermost first."""

    def spans(self, node: torch.fx.Node) -> tuple[Span, ...]:
        """The source expressions that led to ``node``, innermost first; empty if it has no source."""
        number = _annotation(node)
        if number is None:
            return _spans_of_stack_trace(node)
        return tuple(itertools.starmap(span_of_frame, self.frames[number]))

    def call(self, node: torch.fx.Node) -> int | None:
        """The number of the call that ``node`` came of, if ``follow_calls`` can hear of it."""
        return None if self.strict else _annotation(node)


def capture(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    strict: bool = False,
) -> Captured:
    """Export ``model`` as ``torch.export.export`` does, and keep the source of every operation.

    The padding of convolutions is then given as numbers. Raises whatever the export raises.
    """

    def export() -> torch.export.ExportedProgram:
        program = torch.export.export(
            model, args, dict(kwargs or {}), dynamic_shapes=dynamic_shapes, strict=strict
        )
        write_paddings_as_numbers(program)
        return program

    calls, stop = _Numbered(), sys._getframe()
    with _annotated_by_dynamo(calls, stop):
        if strict:
            program = export()
        else:
            with preserve_node_meta(), _CallRecorder(calls, stop):
                program = export()
    _annotate_assertions(program)
    return Captured(program, strict, tuple(calls.frames))


def is_installed(file: str) -> bool:
    """Whether a file belongs to an installed package rather than to somebody's workspace."""
    return file.startswith(_STANDARD_LIBRARY) or _PACKAGE_FOLDERS.search(file) is not None


def follow_calls(
    captured: Captured, heard: Callable[[int, Any], None], run: Callable[[], object]
) -> None:
    """Run a model again, and hear what each of its torch calls gives that are in the captured program,
    with the number that the call has there. Raises what the model raises."""
    with _CallFollower(sys._getframe(), captured.frames, heard):
        run()


def _annotation(node: torch.fx.Node) -> int | None:
    number = node.meta.get(CUSTOM_KEY, {}).get(CALL_KEY)
    return number if isinstance(number, int) else None


class _Numbered:
    """The frames of each call; its number is its place among them."""

    def __init__(self) -> None:
        self.frames: list[tuple[Frame, ...]] = []
        self._numbers: dict[tuple[Frame, ...], int] = {}

    def number(self, frames: tuple[Frame, ...]) -> int:
        number = self._numbers.setdefault(frames, len(self.frames))
        if number == len(self.frames):
            self.frames.append(frames)
        return number


def _callers(frame: Any, stop: Any) -> Iterator[Frame]:
    """The frames of source from ``frame`` outwards to ``stop``."""
    while frame is not None and frame is not stop:
        # Most frames are torch's. Reading the code of one takes ten times as long if anything listens
        # to Python's audit events, and a worker does.
        if not str(frame.f_globals.get("__name__")).startswith("torch."):
            code = frame.f_code
            if _is_source(code.co_filename):
                yield code.co_filename, code, frame.f_lasti
        frame = frame.f_back


class _CallFollower(TorchFunctionMode):
    """Tells what every torch call gives that has a number."""

    def __init__(
        self, stop: Any, frames: Sequence[tuple[Frame, ...]], heard: Callable[[int, Any], None]
    ) -> None:
        super().__init__()
        self._stop = stop
        self._numbers = {each: number for number, each in enumerate(frames)}
        self._heard = heard

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func not in _QUESTIONS and not torch.compiler.is_dynamo_compiling():
            number = self._numbers.get(tuple(_callers(sys._getframe(1), self._stop)))
            if number is not None:
                self._heard(number, result)
        return result


class _CallRecorder(TorchFunctionMode):
    """Annotates the nodes of every torch call with the number of the call's frames."""

    def __init__(self, calls: _Numbered, stop: Any) -> None:
        super().__init__()
        self._calls, self._stop = calls, stop

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # Control-flow bodies are traced symbolically, this function with them; it must be invisible.
        if torch.compiler.is_dynamo_compiling() or func in _QUESTIONS:
            return func(*args, **(kwargs or {}))
        frames = tuple(_callers(sys._getframe(1), self._stop))
        if not frames:
            return func(*args, **(kwargs or {}))
        with annotate({CALL_KEY: self._calls.number(frames)}):
            return func(*args, **(kwargs or {}))


@contextmanager
def _annotated_by_dynamo(calls: _Numbered, stop: Any) -> Iterator[None]:
    """Have Dynamo annotate what it traces with the number of the frames that it is executing.

    The stack trace that it gives a node does not tell where an expression ends. No public interface of
    torch tells more; where a version has not got what is read here, its nodes keep their stack traces.
    """
    try:
        from torch._dynamo.output_graph import SubgraphTracer

        create_proxy = SubgraphTracer.create_proxy
    except (ImportError, AttributeError):
        yield
        return

    def annotating(tracer: SubgraphTracer, *args: Any, **kwargs: Any) -> torch.fx.Proxy:
        proxy = create_proxy(tracer, *args, **kwargs)
        node = proxy.node
        if node.op not in ("placeholder", "get_attr"):
            with suppress(AttributeError, KeyError):
                frames = (*_traced_frames(tracer), *_callers(sys._getframe(1), stop))
                if frames:
                    number = {CALL_KEY: calls.number(frames)}
                    node.meta[CUSTOM_KEY] = node.meta.get(CUSTOM_KEY, {}) | number
        return proxy

    SubgraphTracer.create_proxy = annotating  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        SubgraphTracer.create_proxy = create_proxy  # type: ignore[method-assign]


def _traced_frames(tracer: Any) -> Iterator[Frame]:
    """The frames of source that Dynamo is executing, innermost first. Raises KeyError without columns."""
    for executed in reversed(tracer.output_graph._current_tx):
        code = executed.f_code
        if _is_source(code.co_filename):
            # Dynamo moves instructions about; where one is from, its positions say.
            yield code.co_filename, code, _offsets(code)[executed.current_instruction.positions]


def _annotate_assertions(program: torch.export.ExportedProgram) -> None:
    """Give what export asserts of a tensor before it is converted the annotation of the conversion.

    Export gives it that of the op which made the tensor.
    """
    aten = torch.ops.aten
    for graph_module in graph_modules(program):
        for node in graph_module.graph.nodes:
            following = node.next
            if (
                node.target is aten._assert_tensor_metadata.default
                and getattr(following.target, "overloadpacket", None) is aten.to
                and following.args[0] is node.args[0]
                # An assertion in the source has its own.
                and _annotation(node) == _annotation(node.args[0])
            ):
                node.meta[CUSTOM_KEY] = following.meta.get(CUSTOM_KEY, {})


@cache
def _is_source(file: str) -> bool:
    """Whether a frame's file is source that a person may have written."""
    if file.startswith("<"):
        return False
    path = os.path.abspath(file)
    if path.startswith(_STANDARD_LIBRARY) and not _PACKAGE_FOLDERS.search(path):
        return False
    return not path.startswith(_MACHINERY)


# -- spans of frames -------------------------------------------------------------------------------


@cache
def span_of_frame(file: str, code: CodeType, offset: int) -> Span:
    """The expression that a frame was in at a bytecode offset; its line where that is not known."""
    if sys.version_info >= (3, 11):
        start, end, column, end_column = _positions(code)[offset // 2]
        if start is not None and end is not None and column is not None and end_column is not None:
            return Span(
                file,
                start,
                _code_points(file, start, column),
                end,
                _code_points(file, end, end_column),
                code.co_qualname,
            )
    return whole_line(file, line_of(code, offset), code.co_name)


@lru_cache(256)
def _positions(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    # Python tells them from the first to the last only.
    if sys.version_info >= (3, 11):
        return list(code.co_positions())
    return []


@lru_cache(256)
def _offsets(code: CodeType) -> dict[tuple[int | None, ...], int]:
    """The first instruction with each of the positions in ``code``."""
    offsets: dict[tuple[int | None, ...], int] = {}
    for index, positions in enumerate(_positions(code)):
        offsets.setdefault(positions, 2 * index)
    return offsets


def line_of(code: CodeType, offset: int) -> int:
    """The line of a bytecode offset."""
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return line
    return code.co_firstlineno


def _code_points(file: str, line: int, column: int) -> int:
    """A column in UTF-8 bytes, as the compiler counts, as a column in code points."""
    text = linecache.getline(file, line)
    return len(text.encode()[:column].decode(errors="ignore")) if text else column


def whole_line(file: str, line: int, function: str) -> Span:
    """A line of a file, its indentation left out."""
    text = linecache.getline(file, line).rstrip()
    indent = len(text) - len(text.lstrip())
    return Span(file, line, indent, line, max(indent, len(text)), function)


# -- spans of stack traces -------------------------------------------------------------------------

_FRAME = re.compile(r'\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>\S+)')


def _spans_of_stack_trace(node: torch.fx.Node) -> tuple[Span, ...]:
    """The lines that a stack trace names: where expressions end is not in it."""
    frames = map(_FRAME.match, (node.meta.get("stack_trace") or "").splitlines())
    return tuple(
        whole_line(frame["file"], int(frame["line"]), frame["function"])
        # What has no text (generated code, a console) cannot be shown.
        for frame in reversed(list(filter(None, frames)))
        if _is_source(frame["file"]) and linecache.getlines(frame["file"])
    )
