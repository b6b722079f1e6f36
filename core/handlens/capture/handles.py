"""Debug handles: a number for every operation that stays with it through every transformation.

A handle lives in ``node.meta["custom"]["numeric_debug_handle"]``. torch carries ``custom`` through copies,
``module()``, re-export and decomposition. torchao 0.18 carries it into neither observers nor dequantize
nodes; ``numeric_debugger.pt2e`` does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from handlens.capture.nodes import graph_modules, value_of

CUSTOM_KEY = "custom"
NUMERIC_DEBUG_HANDLE_KEY = "numeric_debug_handle"

# When an op with several outputs is traced again, its getitem nodes are made while the op runs, and so get
# the annotations of the op. The op therefore has the handles of its getitem nodes, by index.
_ITEMS_KEY = "numeric_debug_handle_items"

_OPS = ("call_function", "call_method", "call_module")


def handle_of(node: Node) -> int | None:
    """The debug handle of an operation; None for another node, or one without a handle."""
    return _noted_handle(node) if node.op in _OPS else None


def _noted_handle(node: Node) -> int | None:
    custom = node.meta.get(CUSTOM_KEY, {})
    handle = custom.get(NUMERIC_DEBUG_HANDLE_KEY)
    if node.target is operator.getitem and _ITEMS_KEY in custom:
        handle = custom[_ITEMS_KEY].get(str(node.args[1]), handle)
    return handle if isinstance(handle, int) else None


def nodes_by_handle(model: ExportedProgram | GraphModule) -> dict[int, Node]:
    """The nodes that have a handle, those in bodies included; of several with one handle, the last."""
    return {
        handle: node
        for graph_module in graph_modules(model)
        for node in graph_module.graph.nodes
        if (handle := handle_of(node)) is not None
    }


def set_handle(node: Node, handle: int) -> None:
    """Give a node a handle. Other annotations stay, and a dictionary shared with copies does not change."""
    node.meta[CUSTOM_KEY] = {**node.meta.get(CUSTOM_KEY, {}), NUMERIC_DEBUG_HANDLE_KEY: handle}


def bfs_trace_with_node_process(
    model: ExportedProgram | GraphModule, fn: Callable[[Node], None]
) -> None:
    """Call ``fn`` on every node but placeholders and outputs: first those of the top level, then those in
    the bodies of control flow, level by level."""
    for graph_module in graph_modules(model):
        for node in graph_module.graph.nodes:
            if node.op not in ("placeholder", "output"):
                fn(node)


def generate_numeric_debug_handle(ep: ExportedProgram) -> None:
    """Give every operation of a program that has no debug handle yet a new one, in place.

    A node that names the body of a control-flow op gets a handle, too. Handles are positive, unique in the
    program and its control-flow bodies, and ascend in graph order. Existing handles do not change. Raises
    ValueError if ``ep`` is no ExportedProgram.
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
        if node.op == "get_attr" and not isinstance(value_of(node), GraphModule):
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

    After export, an output of a region and the op inside that computes it share one dictionary.
    """
    known: set[int] = set()

    def give(node: Node) -> None:
        if id(node.meta) in known:
            node.meta = dict(node.meta)
        known.add(id(node.meta))

    bfs_trace_with_node_process(model, give)
