"""Debug handles: a number for every operation that stays with it through every transformation.

A handle lives in ``node.meta["custom"]["numeric_debug_handle"]``. torch carries ``custom`` through copies,
``module()``, re-export and decomposition; torchao 0.18 carries it into neither observers nor dequantize
nodes, so ``prepare_pt2e`` and ``convert_pt2e`` here do.
"""

from __future__ import annotations

import operator
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import quantize_pt2e
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase
from torchao.quantization.pt2e.observer import AffineQuantizedObserverBase, ObserverBase

CUSTOM_KEY = "custom"
NUMERIC_DEBUG_HANDLE_KEY = "numeric_debug_handle"

# Tracing an op with several outputs anew makes its getitem nodes while the op runs, so that they are given
# what the op was annotated with. The op therefore keeps the handles of its getitem nodes, by index.
_ITEMS_KEY = "numeric_debug_handle_items"

_OPS = ("call_function", "call_method", "call_module")


def handle_of(node: Node) -> int | None:
    """The debug handle of an operation; None for a node that is none, or has no handle."""
    return _noted_handle(node) if node.op in _OPS else None


def _noted_handle(node: Node) -> int | None:
    custom = node.meta.get(CUSTOM_KEY, {})
    handle = custom.get(NUMERIC_DEBUG_HANDLE_KEY)
    if node.target is operator.getitem and _ITEMS_KEY in custom:
        handle = custom[_ITEMS_KEY].get(str(node.args[1]), handle)
    return handle if isinstance(handle, int) else None


# What a body has captured goes by the way that Dynamo found it: ``L['args'][1].__self__.block``.
_CAPTURED = re.compile(r"L\[.*\]\.(?:__self__|cell_contents)\.?(?P<path>.*)")


def module_paths(node: Node) -> list[str]:
    """The paths of the modules that an op was called in, outermost first."""
    paths = (str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values())
    return [found["path"] if (found := _CAPTURED.fullmatch(path)) else path for path in paths]


def set_handle(node: Node, handle: int) -> None:
    """Give a node a handle. Its other annotations stay; dictionaries shared with copies do too."""
    node.meta[CUSTOM_KEY] = {**node.meta.get(CUSTOM_KEY, {}), NUMERIC_DEBUG_HANDLE_KEY: handle}


def bfs_trace_with_node_process(
    model: ExportedProgram | GraphModule, fn: Callable[[Node], None]
) -> None:
    """Call ``fn`` on every node but placeholders and outputs, the top level first, then the bodies of
    control flow, level by level."""
    for graph_module in graph_modules(model):
        for node in graph_module.graph.nodes:
            if node.op not in ("placeholder", "output"):
                fn(node)


def graph_modules(model: ExportedProgram | GraphModule) -> Iterator[GraphModule]:
    """A graph module and those that its nodes call (the bodies of control flow), breadth first."""
    queue = deque([model.graph_module if isinstance(model, ExportedProgram) else model])
    seen: set[int] = set()
    while queue:
        graph_module = queue.popleft()
        if id(graph_module) in seen:
            continue
        seen.add(id(graph_module))
        yield graph_module
        for node in graph_module.graph.nodes:
            if node.op == "get_attr" and isinstance(body := _attribute(node), GraphModule):
                queue.append(body)


def _attribute(node: Node) -> Any:
    value: Any = node.graph.owning_module
    for name in str(node.target).split("."):
        value = getattr(value, name, None)
    return value


def generate_numeric_debug_handle(ep: ExportedProgram) -> None:
    """Give every operation of a program that has no debug handle yet a fresh one, in place.

    A node that names the body of a control-flow op has one, too. Handles are positive, unique over the
    program and its control-flow bodies, and ascend in graph order. Those that are there already do not
    change. Raises ValueError if ``ep`` is no ExportedProgram.
    """
    if not isinstance(ep, ExportedProgram):
        raise ValueError(f"expected an ExportedProgram, got a {type(ep).__name__}")
    last = 0
    own_metadata(ep)

    def find_last(node: Node) -> None:
        nonlocal last
        last = max(last, _noted_handle(node) or 0)

    def give(node: Node) -> None:
        nonlocal last
        if node.op == "get_attr" and not isinstance(_attribute(node), GraphModule):
            return
        handle = _noted_handle(node)
        if handle is None:
            last += 1
            handle = last
        set_handle(node, handle)
        if node.target is operator.getitem:
            node.meta[CUSTOM_KEY].pop(_ITEMS_KEY, None)
            source = node.args[0]
            assert isinstance(source, Node)
            items = {**source.meta[CUSTOM_KEY].get(_ITEMS_KEY, {}), str(node.args[1]): handle}
            source.meta[CUSTOM_KEY] = {**source.meta[CUSTOM_KEY], _ITEMS_KEY: items}

    bfs_trace_with_node_process(ep, find_last)
    bfs_trace_with_node_process(ep, give)


def own_metadata(model: ExportedProgram | GraphModule) -> None:
    """Give every node metadata of its own, in place.

    Export lets an output of a region and the op inside that computes it share theirs.
    """
    known: set[int] = set()

    def give(node: Node) -> None:
        if id(node.meta) in known:
            node.meta = dict(node.meta)
        known.add(id(node.meta))

    bfs_trace_with_node_process(model, give)


def prepare_pt2e(model: GraphModule, quantizer: Any) -> GraphModule:
    """torchao's ``prepare_pt2e``; every observer then has the handle of the node it observes.

    Like torchao's it may rewrite ``model`` in place (it folds batch norms into convolutions).
    """
    prepared: GraphModule = quantize_pt2e.prepare_pt2e(model, quantizer)
    for graph_module in graph_modules(prepared):
        for node in graph_module.graph.nodes:
            if is_observer(node):
                _inherit_handle(node, _through(node, is_observer))
    return prepared


def convert_pt2e(
    model: GraphModule, use_reference_representation: bool = False, fold_quantize: bool = True
) -> GraphModule:
    """torchao's ``convert_pt2e``; every dequantize node then has the handle of the node whose output it
    dequantizes. Quantize nodes have none: their output is in another unit."""
    with _without_qat_folding(model):
        converted: GraphModule = quantize_pt2e.convert_pt2e(
            model, use_reference_representation, fold_quantize
        )
    for graph_module in graph_modules(converted):
        for node in graph_module.graph.nodes:
            if is_quantize(node):
                node.meta[CUSTOM_KEY] = {
                    key: value
                    for key, value in node.meta.get(CUSTOM_KEY, {}).items()
                    if key != NUMERIC_DEBUG_HANDLE_KEY
                }
            elif is_dequantize(node):
                _inherit_handle(node, _through(node, is_quantize_or_dequantize))
    return converted


@contextmanager
def _without_qat_folding(model: GraphModule) -> Iterator[None]:
    """Spare a model that was not trained quantized the search for what only training leaves.

    With a batch norm left in the graph the search takes over ten seconds, and finds nothing.
    """
    name = "_fold_conv_bn_qat"
    trained = any(isinstance(each, FakeQuantizeBase) for each in model.modules())
    fold = getattr(quantize_pt2e, name, None)
    if trained or fold is None:
        yield
        return
    setattr(quantize_pt2e, name, lambda model: model)
    try:
        yield
    finally:
        setattr(quantize_pt2e, name, fold)


def _inherit_handle(node: Node, source: Node) -> None:
    handle = handle_of(source)
    if handle is not None:
        set_handle(node, handle)


def _through(node: Node, passes: Callable[[Node], bool]) -> Node:
    """The nearest node up the chain of first arguments that does not ``pass``."""
    while passes(node):
        source = node.args[0]
        assert isinstance(source, Node)
        node = source
    return node


def is_observer(node: Node) -> bool:
    """Whether a node of a prepared graph is an observer or a fake quantizer."""
    return node.op == "call_module" and isinstance(
        _attribute(node), (ObserverBase, AffineQuantizedObserverBase, FakeQuantizeBase)
    )


def is_quantize(node: Node) -> bool:
    """Whether a node takes floating point values to integers."""
    return _is_quantization_op(node, "quantize_")


def is_dequantize(node: Node) -> bool:
    """Whether a node takes integers back to floating point values."""
    return _is_quantization_op(node, "dequantize_")


def is_quantize_or_dequantize(node: Node) -> bool:
    return is_quantize(node) or is_dequantize(node)


def _is_quantization_op(node: Node, prefix: str) -> bool:
    target = node.target
    return (
        node.op == "call_function"
        and isinstance(target, torch._ops.OpOverload)
        and target.namespace in ("quantized_decomposed", "torchao")
        and target._opname.startswith(prefix)
    )
