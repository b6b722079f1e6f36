"""Export a model, and know for every operation which source expressions called it.

Non-strict export runs the user's code, so the interpreter itself can be asked. A torch function mode
sees every call into torch before it is traced; it notes the caller's frames and annotates the nodes that
come of the call with the number of that note. The annotation is in ``node.meta["custom"]``, which
survives ``module()``, preparation, conversion and decomposition.

Strict export, and the bodies of cond, map, scan and while_loop, are traced by symbolic execution of
bytecode, which calls no mode. There the node's stack trace names the lines, and the syntax tree of the
line gives the columns.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import CodeType
from typing import Any

import torch
import torchao
from torch.fx.traceback import annotate, preserve_node_meta
from torch.overrides import TorchFunctionMode

from handlens.handles import CUSTOM_KEY
from handlens.paddings import write_paddings_as_numbers
from handlens.report import Span
from handlens.targets import BOM

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
        call = self.call(node)
        if call is None:
            return _spans_of_stack_trace(node)
        return tuple(itertools.starmap(span_of_frame, self.frames[call]))

    def call(self, node: torch.fx.Node) -> int | None:
        """The number of the call that ``node`` came of, if it was annotated."""
        number = node.meta.get(CUSTOM_KEY, {}).get(CALL_KEY)
        return None if self.strict or not isinstance(number, int) else number


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

    if strict:
        return Captured(export(), True, ())
    mode = _CallRecorder(stop=sys._getframe())
    with preserve_node_meta(), mode:
        program = export()
    return Captured(program, False, tuple(mode.frames))


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


class _Calls(TorchFunctionMode):
    """Sees every torch call, and the frames that made it."""

    def __init__(self, stop: Any) -> None:
        super().__init__()
        self._stop = stop

    def _callers(self, frame: Any) -> Iterator[Frame]:
        while frame is not None and frame is not self._stop:
            # Most frames are torch's. Reading the code of one takes ten times as long if anything listens
            # to Python's audit events, and a worker does.
            if not str(frame.f_globals.get("__name__")).startswith("torch."):
                code = frame.f_code
                if _is_source(code.co_filename):
                    yield code.co_filename, code, frame.f_lasti
            frame = frame.f_back


class _CallFollower(_Calls):
    def __init__(
        self, stop: Any, frames: Sequence[tuple[Frame, ...]], heard: Callable[[int, Any], None]
    ) -> None:
        super().__init__(stop)
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
            number = self._numbers.get(tuple(self._callers(sys._getframe(1))))
            if number is not None:
                self._heard(number, result)
        return result


class _CallRecorder(_Calls):
    """Annotates the nodes of every torch call with the number of the call's frames in ``frames``."""

    def __init__(self, stop: Any) -> None:
        super().__init__(stop)
        self.frames: list[tuple[Frame, ...]] = []
        self._known: dict[tuple[Frame, ...], int] = {}

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
        frames = tuple(self._callers(sys._getframe(1)))
        if not frames:
            return func(*args, **(kwargs or {}))
        number = self._known.setdefault(frames, len(self.frames))
        if number == len(self.frames):
            self.frames.append(frames)
        with annotate({CALL_KEY: number}):
            return func(*args, **(kwargs or {}))


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
    return _whole_line(file, _line_of(code, offset), code.co_name)


@lru_cache(256)
def _positions(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    # Python tells them from the first to the last only.
    if sys.version_info >= (3, 11):
        return list(code.co_positions())
    return []


def _line_of(code: CodeType, offset: int) -> int:
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return line
    return code.co_firstlineno


def _code_points(file: str, line: int, column: int) -> int:
    """A column in UTF-8 bytes, as the compiler counts, as a column in code points."""
    text = linecache.getline(file, line)
    return len(text.encode()[:column].decode(errors="ignore")) if text else column


def _whole_line(file: str, line: int, function: str) -> Span:
    text = linecache.getline(file, line).rstrip()
    indent = len(text) - len(text.lstrip())
    return Span(file, line, indent, line, max(indent, len(text)), function)


# -- spans of stack traces -------------------------------------------------------------------------

_FRAME = re.compile(r'\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>\S+)')
_MARKER = re.compile(r"\s*[~^]+\s*")


def _spans_of_stack_trace(node: torch.fx.Node) -> tuple[Span, ...]:
    lines = (node.meta.get("stack_trace") or "").splitlines()
    frames: list[tuple[str, int, str, tuple[int, int] | None]] = []
    for number, text in enumerate(lines):
        match = _FRAME.match(text)
        # What has no text (generated code, a console) cannot be shown.
        if match and _is_source(match["file"]) and linecache.getlines(match["file"]):
            marked = _marked_columns(
                lines[number + 1 : number + 3], match["file"], int(match["line"])
            )
            frames.append((match["file"], int(match["line"]), match["function"], marked))
    names = _names(node)
    return tuple(_narrow(*frame, names) for frame in reversed(frames))


def _marked_columns(below: list[str], file: str, line: int) -> tuple[int, int] | None:
    """The columns that carets under a quoted source line point at."""
    if len(below) < 2 or not _MARKER.fullmatch(below[1]):
        return None
    shown, marker = below[0], below[1].rstrip()
    start = len(marker) - len(marker.lstrip())
    text = linecache.getline(file, line)
    # The quotation has an indentation of its own in place of the source's.
    shift = (len(text) - len(text.lstrip())) - (len(shown) - len(shown.lstrip()))
    return start + shift, len(marker) + shift


_OPERATORS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Add: ("add", "add_"),
    ast.Sub: ("sub", "sub_", "rsub"),
    ast.Mult: ("mul", "mul_"),
    ast.Div: ("div", "div_"),
    ast.MatMult: ("matmul", "mm", "bmm", "linear"),
    ast.Pow: ("pow",),
    ast.USub: ("neg",),
    ast.Gt: ("gt",),
    ast.Lt: ("lt",),
    ast.GtE: ("ge",),
    ast.LtE: ("le",),
    ast.Eq: ("eq",),
    ast.NotEq: ("ne",),
}
_SUBSCRIPTS = ("select", "slice", "index", "getitem", "unsqueeze")


def _names(node: torch.fx.Node) -> frozenset[str]:
    """What an expression that computes ``node`` can be called: the op, or the modules it is in."""
    target = node.target
    op = target if isinstance(target, str) else getattr(target, "__name__", "")
    packet = getattr(target, "overloadpacket", None)
    names = {op.split(".")[0]} | ({packet.__name__} if packet is not None else set())
    for path, _ in (node.meta.get("nn_module_stack") or {}).values():
        names.update(path.split(".")[-2:])
    return frozenset(names - {""})


def _narrow(
    file: str, line: int, function: str, marked: tuple[int, int] | None, names: frozenset[str]
) -> Span:
    """The one expression on a line that has one of ``names``, else what is marked, else the line."""
    low, high = marked or (0, sys.maxsize)
    found = [
        each
        for each in _expressions(file, "".join(linecache.getlines(file)))
        if each.lineno == line
        and low <= _code_points(file, line, each.col_offset)
        and (each.end_lineno != line or _code_points(file, line, each.end_col_offset or 0) <= high)
        and names & _called(each)
    ]
    if len(found) == 1:
        only = found[0]
        end = only.end_lineno or line
        return Span(
            file,
            line,
            _code_points(file, line, only.col_offset),
            end,
            _code_points(file, end, only.end_col_offset or 0),
            function,
        )
    if marked:
        return Span(file, line, low, line, high, function)
    return _whole_line(file, line, function)


@lru_cache(maxsize=64)
def _expressions(file: str, text: str) -> list[ast.expr | ast.stmt]:
    try:
        tree = ast.parse(text.removeprefix(BOM), file)
    except SyntaxError:
        return []
    kinds = (ast.Call, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Subscript, ast.AugAssign)
    return [each for each in ast.walk(tree) if isinstance(each, kinds)]


def _called(expression: ast.expr | ast.stmt) -> set[str]:
    if isinstance(expression, ast.Call):
        function = expression.func
        if isinstance(function, ast.Subscript):
            function = function.value
        if isinstance(function, ast.Attribute):
            return {function.attr}
        return {function.id} if isinstance(function, ast.Name) else set()
    if isinstance(expression, (ast.BinOp, ast.UnaryOp, ast.AugAssign)):
        return set(_OPERATORS.get(type(expression.op), ()))
    if isinstance(expression, ast.Compare):
        return {name for each in expression.ops for name in _OPERATORS.get(type(each), ())}
    return set(_SUBSCRIPTS)
