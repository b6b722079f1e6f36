"""In which op of a graph an exception was raised, and why it is raised in a quantized graph only."""

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

_OVERFLOW = re.compile(r"value cannot be converted to type .* without overflow")
_NO_INDEX = re.compile(r"\b(index|valid range|out of range|out of bounds|num_classes)\b", re.I)
_MOST_IN_HAND = 3

# How torch says that the operands of an op have different types.
_TYPES = re.compile(r"\b(dtype|scalar type|float)\b", re.IGNORECASE)


# -- where -----------------------------------------------------------------------------------------


def failing_ops(error: BaseException) -> tuple[int, ...]:
    """The handles of the ops that were computed as an exception was raised, or that a quantizer was
    looking at.

    One, or the few that the innermost function which has any in hand reads on its line, or was given.
    Empty where no op is to blame. An observer or a quantizer of an op's output stands for the op; that of a
    weight, for the op that reads the weight.
    """
    for each in chain(error):
        for entry in reversed([*frames(each)]):
            for nodes in _in_hand(entry.tb_frame, entry.tb_lineno):
                found = {handle: None for node in nodes if (handle := _handle(node)) is not None}
                if 0 < len(found) <= _MOST_IN_HAND:
                    return tuple(found)
    return ()


def _in_hand(frame: types.FrameType, line: int) -> Iterator[list[Node]]:
    """The nodes that a function has in hand at a line, by what is known of them best first."""
    code, values = frame.f_code, frame.f_locals
    graph_module = values.get("self")
    if isinstance(graph_module, GraphModule):
        if code is getattr(type(graph_module).forward, "__code__", None):
            # As torch does to profile a graph: the line within the generated function tells the node.
            place = graph_module._lineno_map.get(line - graph_module._prologue_start)
            nodes = [*graph_module.graph.nodes]
            yield nodes[place : place + 1] if place is not None else []
        return
    # Other names may be of what came before: the node of the loop's last round.
    yield [node for name in _read_on(code, line) for node in _nodes(values.get(name))]
    given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    yield [node for name in given for node in _nodes(values.get(name))]


@cache
def _read_on(code: types.CodeType, line: int) -> tuple[str, ...]:
    """The local names that a line reads."""
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
    """The handle of a node, or of the next one that has one, if it stands for no op of its own."""
    while (handle := handle_of(node)) is None:
        helps = node.op == "call_module" or is_quantize_or_dequantize(node) or is_added_cast(node)
        if not helps or not node.users:
            return None
        node = next(iter(node.users))
    return handle


# -- running a graph node by node ------------------------------------------------------------------


def run_watched(model: GraphModule, inputs: Inputs, heard: Callable[[Node, Any], None]) -> None:
    """Run a graph on copies of inputs, and hear what each node gives, in bodies too, as it runs.

    Its state is given its value back. Raises what the graph raises.
    """
    bodies = [each for each in graph_modules(model) if each is not model]
    try:
        for body in bodies:
            body.forward = _Watched(body, heard).run
        with state_restored(model), torch.no_grad():
            leaves = pytree.tree_leaves(cloned(inputs))
            _Watched(model, heard).run(*leaves, enable_io_processing=False)
    finally:
        for body in bodies:
            del body.forward


class _Watched(Interpreter):
    def __init__(self, model: GraphModule, heard: Callable[[Node, Any], None]) -> None:
        super().__init__(model, garbage_collect_values=True)
        self._heard = heard

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        self._heard(n, value)
        return value


# -- why -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Explanation:
    """Why an op raised as two graphs were compared."""

    model: Literal["reference", "actual", ""] = ""
    """Which of the two graphs raises by itself; the reference, if both do."""
    cause: str = ""
    """Why, and what to do about it, on two lines, as a ``Finding`` has it; empty where it is not known."""


def explain(error: BaseException, handle: int, quantized: Quantized, inputs: Inputs) -> Explanation:
    """Why an op raised ``error`` on ``inputs``: both graphs are run once more, each by itself."""
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
    """What some nodes of a graph gave as it ran, each time they did, and what the run raised."""

    def __init__(self, model: GraphModule, inputs: Inputs, wanted: Collection[Node]) -> None:
        self._values: dict[Node, list[Tensor]] = defaultdict(list)
        self._wanted = wanted
        self.error: Exception | None = None
        try:
            run_watched(model, inputs, self._hear)
        except Exception as error:
            self.error = error

    def times(self, node: Node) -> int:
        return len(self._values[node])

    def at(self, node: Node, execution: int) -> Tensor | None:
        values = self._values[node]
        return values[execution] if execution < len(values) else None

    def _hear(self, node: Node, value: Any) -> None:
        if node in self._wanted and isinstance(value, (Tensor, int, float)):
            self._values[node].append(torch.as_tensor(value).clone())


def _op(model: GraphModule, handle: int) -> Node | None:
    """The node of a graph, or of a body in it, that computes the op with a handle."""
    for graph_module in graph_modules(model):
        node: Node
        for node in graph_module.graph.nodes:
            if handle_of(node) == handle and not is_quantize_or_dequantize(node):
                return node
    return None


def mixed_types(error: BaseException, half: str) -> str:
    """What to do about an op that raised because it was given float32 in a model cast to ``half``."""
    text = str(error)
    if not _TYPES.search(text) or not re.search(r"\b(b?float16|Half|BFloat16)\b", text, re.I):
        return ""
    return (
        f"it is given float32 and {half}: the recipe casts parameters, buffers and inputs, and nothing "
        "that forward makes\n"
        "make it with dtype=x.dtype, or cast it with .to(x.dtype)"
    )


def _beyond_range(error: BaseException, op: Node) -> str:
    """The constant of an op that its type does not have."""
    kind = dtype(op)
    if kind is None or not kind.is_floating_point or not _OVERFLOW.search(str(error)):
        return ""
    most = torch.finfo(kind).max
    constants = [
        each
        for each in pytree.tree_leaves((op.args, op.kwargs))
        if isinstance(each, (int, float)) and most < abs(each) < math.inf
    ]
    if not constants:
        return ""
    name, end = dtype_name(kind), "min" if constants[0] < 0 else "max"
    infinity = "-inf" if constants[0] < 0 else "inf"
    return (
        f"the constant {constants[0]:g} is beyond the range of {name}, which ends at {most:g}\n"
        f"torch.finfo(x.dtype).{end} follows the type of what it is used with, and so does {infinity}"
    )


def _is_index(node: Node) -> bool:
    value = example(node)
    if isinstance(value, Tensor):
        return not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    return isinstance(value, (int, torch.SymInt))


def _source(index: Node) -> Node:
    """What the integers of an index are made of: floating point values, if there are any."""
    while _is_index(index) and index.all_input_nodes:
        index = index.all_input_nodes[0]
    return index


def _other_index(
    index: tuple[Node, Node], source: tuple[Node, Node], known: _Values, found: _Values
) -> str:
    """What a quantized graph looked up in place of what the float graph does."""
    last = found.times(index[1]) - 1
    r, a = known.at(index[0], last), found.at(index[1], last)
    if last < 0 or r is None or a is None or r.shape != a.shape or torch.equal(r, a):
        return ""
    # The one that is farthest out is beyond the table, if one of them is.
    place = int(torch.where(r != a, a.abs(), -1).flatten().argmax())
    cause = f"its index is {int(a.flatten()[place])} where that of the float model is "
    cause += f"{int(r.flatten()[place])}"
    r_source = known.at(source[0], known.times(source[0]) - known.times(index[0]) + last)
    a_source = found.at(source[1], found.times(source[1]) - found.times(index[1]) + last)
    if (
        r_source is not None
        and a_source is not None
        and r_source.shape == a_source.shape == r.shape
    ):
        before, after = r_source.flatten()[place], a_source.flatten()[place]
        if before.is_floating_point() and after.dtype in HALF and before.to(after.dtype) == after:
            cause += f": {dtype_name(after.dtype)} makes {float(after):.7g} of {float(before):.7g}"
        elif before.is_floating_point() and before != after:
            cause += f": it is made of {float(after):.7g}, not of {float(before):.7g}"
    return f"{cause}\nmake indices of integers: what is no floating point number is not rounded"
