"""Notes the frames of every torch call while a model is exported, so that nodes can be traced to source.

Non-strict export runs the user's code, so the interpreter knows the frames. A torch function mode sees
every call into torch before it is traced. It numbers the calls by their frames, and annotates the nodes of
a call with the number. The annotation is in ``node.meta["custom"]``, which survives ``module()``,
preparation, conversion and decomposition.

Dynamo traces strict export, and the bodies of cond, map, scan and while_loop. It executes bytecode
symbolically and calls no mode. Its nodes are annotated in the same way, with the frames that Dynamo was
executing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch.fx.traceback import annotate
from torch.overrides import TorchFunctionMode

from handlens.capture.handles import CUSTOM_KEY
from handlens.capture.spans import Frame, is_source, offsets_of

CALL_KEY = "handlens_call"

# Attributes and methods that tracing reads all the time, and that leave no node to annotate.
_LEAVE_NO_NODE = frozenset(
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
        torch.Tensor.requires_grad.__set__,  # type: ignore[attr-defined]
        torch.Tensor._is_view,
        torch.Tensor.is_conj,
        torch.Tensor.is_inference,
        torch.Tensor.is_neg,
        torch.Tensor.untyped_storage,
    )
)
# They leave a node where a shape is dynamic.
_OF_SHAPES = frozenset(
    (
        torch.Tensor.dim,
        torch.Tensor.numel,
        torch.Tensor.shape.__get__,  # type: ignore[attr-defined]
        torch.Tensor.size,
        torch.Tensor.storage_offset,
        torch.Tensor.stride,
    )
)


def call_number(node: torch.fx.Node) -> int | None:
    """The number of the call that made a node; None if no frames were noted for it."""
    number = node.meta.get(CUSTOM_KEY, {}).get(CALL_KEY)
    return number if isinstance(number, int) else None


class NumberedCalls:
    """Numbers calls by their frames. The number of a call is the index of its frames in ``frames``."""

    def __init__(self) -> None:
        self.frames: list[tuple[Frame, ...]] = []
        self._numbers: dict[tuple[Frame, ...], int] = {}

    def number(self, frames: tuple[Frame, ...]) -> int:
        number = self._numbers.setdefault(frames, len(self.frames))
        if number == len(self.frames):
            self.frames.append(frames)
        return number


def _callers(frame: Any, stop: Any) -> Iterator[Frame]:
    """The frames in source files, from ``frame`` outwards to ``stop``."""
    while frame is not None and frame is not stop:
        # Most frames are torch's, and told by their module: reading ``f_code`` takes ten times as long if
        # there is an audit hook, and a worker has one.
        if not str(frame.f_globals.get("__name__")).startswith("torch."):
            code = frame.f_code
            if is_source(code.co_filename):
                yield code.co_filename, code, frame.f_lasti
        frame = frame.f_back


class CallRecorder(TorchFunctionMode):
    """Annotates the nodes of every torch call with the number of the call."""

    def __init__(self, calls: NumberedCalls, stop: Any) -> None:
        super().__init__()
        self._calls, self._stop = calls, stop

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # Dynamo traces this function along with control-flow bodies, where it must do nothing.
        if torch.compiler.is_dynamo_compiling() or func in _LEAVE_NO_NODE or _is_static(func, args):
            return func(*args, **(kwargs or {}))
        frames = tuple(_callers(sys._getframe(1), self._stop))
        if not frames:
            return func(*args, **(kwargs or {}))
        with annotate({CALL_KEY: self._calls.number(frames)}):
            return func(*args, **(kwargs or {}))


def _is_static(func: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """True for a question about a shape that has no symbols. Tracing asks thousands of them."""
    return func in _OF_SHAPES and not getattr(args[0], "_has_symbolic_sizes_strides", True)


@contextmanager
def annotated_by_dynamo(calls: NumberedCalls, stop: Any) -> Iterator[None]:
    """While the block runs, Dynamo annotates its nodes with the number of the frames that it is executing.

    The stack trace of a node does not tell where an expression ends, and no public interface of torch does.
    If a version of torch lacks the internals read here, its nodes have stack traces only.
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
    """The source frames that Dynamo is executing, innermost first. Raises KeyError without columns."""
    for executed in reversed(tracer.output_graph._current_tx):
        code = executed.f_code
        if is_source(code.co_filename):
            # Dynamo reorders instructions. The positions of an instruction tell where it comes from.
            yield code.co_filename, code, offsets_of(code)[executed.current_instruction.positions]


def replay_calls(
    frames: Sequence[tuple[Frame, ...]],
    on_result: Callable[[int, Any], None],
    run: Callable[[], object],
) -> None:
    """Call ``run``, and ``on_result`` with the index and the result of each torch call in ``frames``.

    Raises whatever ``run`` raises.
    """
    with _CallListener(sys._getframe(), frames, on_result):
        run()


class _CallListener(TorchFunctionMode):
    """Passes on the results of torch calls whose frames are known."""

    def __init__(
        self, stop: Any, frames: Sequence[tuple[Frame, ...]], on_result: Callable[[int, Any], None]
    ) -> None:
        super().__init__()
        self._stop = stop
        self._numbers = {each: number for number, each in enumerate(frames)}
        self._on_result = on_result

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func not in _LEAVE_NO_NODE and not torch.compiler.is_dynamo_compiling():
            number = self._numbers.get(tuple(_callers(sys._getframe(1), self._stop)))
            if number is not None:
                self._on_result(number, result)
        return result
