"""In which op of a graph an exception was raised, and why only the quantized graph raises it."""

from __future__ import annotations

import dis
import math
import re
import types
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.passes.utils.source_matcher_utils import SourcePartition
from torch.utils import _pytree as pytree

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    HALF,
    dtype,
    dtype_name,
    example,
    graph_modules,
    is_quantize_or_dequantize,
)
from handlens.capture.spans import line_of
from handlens.comparison.memory import state_restored
from handlens.comparison.quantized_values import is_added_cast
from handlens.failures.exceptions import chain, frames
from handlens.loading.inputs import Inputs, cloned
from handlens.recipes.recipe import Quantized
from handlens.report import NO_CAUSE, Cause

_OVERFLOW = re.compile(r"value cannot be converted to type .* without overflow")
_NO_INDEX = re.compile(r"\b(index|valid range|out of range|out of bounds|num_classes)\b", re.I)
_MOST = 3

# In messages of torch about operands of different types.
_TYPES = re.compile(r"\b(dtype|scalar type|float)\b", re.IGNORECASE)


# -- where -----------------------------------------------------------------------------------------


def failing_ops(error: BaseException) -> tuple[int, ...]:
    """The handles of the ops that a graph was computing, or a quantizer was handling, when it raised.

    The nodes are those that the innermost function with any node reads on its line, or has as arguments.
    Empty if there is none, or if there are too many to name. An observer or quantizer of an op's output
    counts as that op, one of a weight as the op that reads the weight.
    """
    for each in chain(error):
        for entry in reversed([*frames(each)]):
            for nodes in _nodes_in(entry.tb_frame, entry.tb_lineno):
                found = {handle: None for node in nodes if (handle := _handle(node)) is not None}
                if 0 < len(found) <= _MOST:
                    return tuple(found)
    return ()


def _nodes_in(frame: types.FrameType, line: int) -> Iterator[list[Node]]:
    """The nodes that a function handles at a line: groups, the most certain one first."""
    code, values = frame.f_code, frame.f_locals
    graph_module = values.get("self")
    if isinstance(graph_module, GraphModule):
        if code is getattr(type(graph_module).forward, "__code__", None):
            # torch profiles graphs like this, too: the line of the generated code gives the node.
            place = graph_module._lineno_map.get(line - graph_module._prologue_start)
            nodes = [*graph_module.graph.nodes]
            yield nodes[place : place + 1] if place is not None else []
        return
    # Other local names may be stale, such as the node of an earlier iteration.
    yield [node for name in _read_on(code, line) for node in _nodes(values.get(name))]
    given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    yield [node for name in given for node in _nodes(values.get(name))]


@cache
def _read_on(code: types.CodeType, line: int) -> tuple[str, ...]:
    """The local variables that a line reads."""
    found: list[str] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("LOAD_FAST") and line_of(code, instruction.offset) == line:
            name = instruction.argval
            found += name if isinstance(name, tuple) else [name]
    return tuple(dict.fromkeys(found))


def _nodes(value: object) -> list[Node]:
    if isinstance(value, SourcePartition):
        return value.output_nodes or value.nodes
    return [value] if isinstance(value, Node) else []


def _handle(node: Node) -> int | None:
    """The handle of a node; for an observer, a quantizer or an added cast, that of a node after it."""
    while (handle := handle_of(node)) is None:
        is_helper = (
            node.op == "call_module" or is_quantize_or_dequantize(node) or is_added_cast(node)
        )
        if not is_helper or not node.users:
            return None
        node = next(iter(node.users))
    return handle


# -- running a graph node by node ------------------------------------------------------------------


def run_watched(model: GraphModule, inputs: Inputs, watch: Callable[[Node, Any], None]) -> None:
    """Run a graph on copies of inputs, and call ``watch`` with each node and its result, in bodies, too.

    The state of the graph is restored. Raises whatever the graph raises.
    """
    bodies = [each for each in graph_modules(model) if each is not model]
    try:
        for body in bodies:
            body.forward = _Watched(body, watch).run
        with state_restored(model), torch.no_grad():
            leaves = pytree.tree_leaves(cloned(inputs))
            _Watched(model, watch).run(*leaves, enable_io_processing=False)
    finally:
        for body in bodies:
            del body.forward


class _Watched(Interpreter):
    def __init__(self, model: GraphModule, watch: Callable[[Node, Any], None]) -> None:
        super().__init__(model, garbage_collect_values=True)
        self._watch = watch

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        self._watch(n, value)
        return value


# -- why -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Explanation:
    """Why an op raised when two graphs were compared."""

    model: Literal["reference", "actual", ""] = ""
    """The graph that raises when it runs by itself; the reference, if both do."""
    cause: Cause = NO_CAUSE


def explain(error: BaseException, handle: int, quantized: Quantized, inputs: Inputs) -> Explanation:
    """Find out why an op raised ``error`` on ``inputs``. Runs both graphs again, each by itself."""
    reference, actual = (_op(model, handle) for model in (quantized.reference, quantized.actual))
    indices: list[tuple[Node, Node]] = []
    if reference is not None and actual is not None and _NO_INDEX.search(str(error)):
        operands = zip(reference.all_input_nodes, actual.all_input_nodes)
        indices = [(r, a) for r, a in operands if _is_index(r) and _is_index(a)]
    sources = [(_source(r), _source(a)) for r, a in indices]
    known = _Values(quantized.reference, inputs, {r for r, _ in (*indices, *sources)})
    if known.error is not None:
        return Explanation("reference")
    found = _Values(quantized.actual, inputs, {a for _, a in (*indices, *sources)})
    if found.error is None or actual is None:
        return Explanation()
    cause = _beyond_range(error, actual)
    kinds = {dtype(each) for each in actual.all_input_nodes}
    if half := next((each for each in HALF if {each, torch.float32} <= kinds), None):
        cause = cause or mixed_types(error, dtype_name(half))
    for index, source in zip(indices, sources):
        cause = cause or _other_index(index, source, known, found)
    return Explanation("actual", cause)


class _Values:
    """The results of some nodes in a run of a graph, by execution, and the error that the run raised."""

    def __init__(self, model: GraphModule, inputs: Inputs, wanted: Collection[Node]) -> None:
        self._values: dict[Node, list[Tensor]] = defaultdict(list)
        self._wanted = wanted
        self.error: Exception | None = None
        try:
            run_watched(model, inputs, self._note)
        except Exception as error:
            self.error = error

    def times(self, node: Node) -> int:
        return len(self._values[node])

    def at(self, node: Node, execution: int) -> Tensor | None:
        values = self._values[node]
        return values[execution] if execution < len(values) else None

    def _note(self, node: Node, value: Any) -> None:
        if node in self._wanted and isinstance(value, (Tensor, int, float)):
            self._values[node].append(torch.as_tensor(value).clone())


def _op(model: GraphModule, handle: int) -> Node | None:
    """The node in a graph or its bodies that computes the op with a handle."""
    for graph_module in graph_modules(model):
        node: Node
        for node in graph_module.graph.nodes:
            if handle_of(node) == handle and not is_quantize_or_dequantize(node):
                return node
    return None


def mixed_types(error: BaseException, half: str) -> Cause:
    """Why an op that reads float32 raised in a model cast to ``half``, and what to do."""
    text = str(error)
    if not _TYPES.search(text) or not re.search(r"\b(b?float16|Half|BFloat16)\b", text, re.I):
        return NO_CAUSE
    return Cause(
        f"it is given float32 and {half}: the recipe casts parameters, buffers and inputs, and nothing "
        "that forward makes",
        "make it with dtype=x.dtype, or cast it with .to(x.dtype)",
    )


def _beyond_range(error: BaseException, op: Node) -> Cause:
    """Which constant of an op its type cannot represent, and what to do."""
    kind = dtype(op)
    if kind is None or not kind.is_floating_point or not _OVERFLOW.search(str(error)):
        return NO_CAUSE
    most = torch.finfo(kind).max
    constants = [
        each
        for each in pytree.tree_leaves((op.args, op.kwargs))
        if isinstance(each, (int, float)) and most < abs(each) < math.inf
    ]
    if not constants:
        return NO_CAUSE
    name, end = dtype_name(kind), "min" if constants[0] < 0 else "max"
    infinity = "-inf" if constants[0] < 0 else "inf"
    return Cause(
        f"the constant {constants[0]:g} is beyond the range of {name}, which ends at {most:g}",
        f"torch.finfo(x.dtype).{end} follows the type of what it is used with, and so does {infinity}",
    )


def _is_index(node: Node) -> bool:
    value = example(node)
    if isinstance(value, Tensor):
        return not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    return isinstance(value, (int, torch.SymInt))


def _source(index: Node) -> Node:
    """The node with the floating point values that the integers of an index come from, if there is one."""
    while _is_index(index) and index.all_input_nodes:
        index = index.all_input_nodes[0]
    return index


def _other_index(
    index: tuple[Node, Node], source: tuple[Node, Node], known: _Values, found: _Values
) -> Cause:
    """Which other index the quantized graph looked up than the float graph, and what to do."""
    last = found.times(index[1]) - 1
    r, a = known.at(index[0], last), found.at(index[1], last)
    if last < 0 or r is None or a is None or r.shape != a.shape or torch.equal(r, a):
        return NO_CAUSE
    # If an index is out of range, it is the one with the largest magnitude.
    place = int(torch.where(r != a, a.abs(), -1).flatten().argmax())
    why = f"its index is {int(a.flatten()[place])} where that of the float model is "
    why += f"{int(r.flatten()[place])}"
    r_source = known.at(source[0], known.times(source[0]) - known.times(index[0]) + last)
    a_source = found.at(source[1], found.times(source[1]) - found.times(index[1]) + last)
    if (
        r_source is not None
        and a_source is not None
        and r_source.shape == a_source.shape == r.shape
    ):
        before, after = r_source.flatten()[place], a_source.flatten()[place]
        if before.is_floating_point() and after.dtype in HALF and before.to(after.dtype) == after:
            why += f": {dtype_name(after.dtype)} makes {float(after):.7g} of {float(before):.7g}"
        elif before.is_floating_point() and before != after:
            why += f": it is made of {float(after):.7g}, not of {float(before):.7g}"
    return Cause(why, "make indices of integers: what is no floating point number is not rounded")
