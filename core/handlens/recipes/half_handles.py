"""Debug handles of a model that was exported anew in half precision: those of the float program.

Ops are recognized by what they are and the expression that they come from, or by the op that reads them.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Hashable, Iterator
from typing import Any

from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from handlens.capture.export import Captured
from handlens.capture.handles import handle_of, own_metadata, set_handle
from handlens.capture.nodes import example_tensors, graph_modules, module_paths


def share_handles(captured: Captured, half: Captured) -> None:
    """Give the ops of a half precision program the handles of their counterparts in the float program."""
    own_metadata(half.program)
    for ours, theirs in zip(graph_modules(captured.program), graph_modules(half.program)):
        handles: dict[Hashable, Iterator[int]] = {
            key: iter([handle for node in nodes if (handle := handle_of(node)) is not None])
            for key, nodes in _by_origin(ours, captured).items()
        }
        for key, nodes in _by_origin(theirs, half).items():
            for node, handle in zip(nodes, handles.get(key, ())):
                set_handle(node, handle)
        _share_by_readers(ours, theirs)


def _by_origin(model: GraphModule, captured: Captured) -> dict[Hashable, list[Node]]:
    """The ops of a graph by their target, module and source expression, in graph order."""
    found: dict[Hashable, list[Node]] = defaultdict(list)
    for node in model.graph.nodes:
        if node.op not in ("placeholder", "output", "get_attr"):
            # One of the outputs of an op corresponds to the output with the same index.
            index = node.args[1] if node.target is operator.getitem else None
            origin = str(node.target), index, tuple(module_paths(node)), captured.spans(node)
            found[origin].append(node)
    return found


def _share_by_readers(model: GraphModule, half: GraphModule) -> None:
    """Give the ops of a half precision graph that have no handle yet those of the ops that they replace.

    Code that looks at the dtype may call another op in half precision. Where an op of both graphs reads
    two such ops as the same argument, they compute the same value.
    """
    twins = {handle: node for node in model.graph.nodes if (handle := handle_of(node)) is not None}
    free = twins.keys() - {handle_of(node) for node in half.graph.nodes}
    for reader in reversed(half.graph.nodes):
        if (shared := handle_of(reader)) is None:
            continue
        twin = twins[shared]
        theirs, their_spec = pytree.tree_flatten((reader.args, reader.kwargs))
        ours, our_spec = pytree.tree_flatten((twin.args, twin.kwargs))
        if their_spec != our_spec:
            continue
        for node, other in zip(theirs, ours):
            if not (isinstance(node, Node) and isinstance(other, Node)):
                continue
            handle = handle_of(other)
            alike = reader.target == twin.target or node.target == other.target
            if (
                handle in free
                and handle_of(node) is None
                and alike
                and _shapes(node) == _shapes(other)
            ):
                set_handle(node, handle)
                free.remove(handle)


def _shapes(node: Node) -> list[tuple[Any, ...]]:
    return [tuple(each.shape) for each in example_tensors(node)]
