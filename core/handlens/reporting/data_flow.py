"""Which ops an op reads, by handle: out of the bodies of control flow, and into them."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from handlens.capture.handles import handle_of
from handlens.capture.nodes import bodies, graph_modules, operands, output, value_of
from handlens.comparison.control_flow import IN_STEP

_LOOPS = (torch.ops.higher_order.while_loop, torch.ops.higher_order.scan)


class DataFlow:
    """The data flow of a graph and of the bodies that it calls."""

    def __init__(self, model: GraphModule) -> None:
        self._body_of = {
            id(value_of(body)): body
            for graph_module in graph_modules(model)
            for node in graph_module.graph.nodes
            for body in bodies(node)
        }

    def sources(self, node: Node, callers: tuple[Node, ...]) -> tuple[tuple[int, ...], bool]:
        """The handles of the ops that ``node`` reads, and True if these are all that its values depend on.

        ``callers`` are the control-flow ops in whose bodies the node is, innermost first.
        """
        found: list[int] = []
        if node.target in IN_STEP:
            are_all = self._add_results(node, None, callers, found)
        elif node.all_input_nodes and node.all_input_nodes[0].target in IN_STEP:
            # The node picks one of the outputs of a body.
            source, index = node.args[0], node.args[1] if len(node.args) > 1 else None
            assert isinstance(source, Node)
            are_all = self._add_results(source, index, callers, found)
        else:
            known = [self._add(each, callers, found) for each in node.all_input_nodes]
            are_all = all(known)
        return tuple(dict.fromkeys(found)), are_all

    def _add_results(
        self, node: Node, index: object, callers: tuple[Node, ...], found: list[int]
    ) -> bool:
        """Add the ops that the bodies of a control-flow op return, all of them or those at one index."""
        are_all = True
        for body in bodies(node):
            returned = output(value_of(body)).args[0]
            if isinstance(index, int) and isinstance(returned, (list, tuple)):
                returned = returned[index] if index < len(returned) else returned
            for each in pytree.tree_leaves(returned):
                if isinstance(each, Node):
                    are_all &= self._add(each, (node, *callers), found)
        return are_all

    def _add(self, source: Node, callers: tuple[Node, ...], found: list[int]) -> bool:
        """Add the op that gives a value. Returns False if the value may come from elsewhere, too."""
        if (handle := handle_of(source)) is not None:
            found.append(handle)
            return True
        if source.op != "placeholder" or not callers:
            return True
        caller, *outer = callers
        body = self._body_of.get(id(source.graph.owning_module))
        operand = dict(operands(caller, body)).get(source) if body is not None else None
        if isinstance(operand, Node):
            self._add(operand, tuple(outer), found)
        # In a loop, a later iteration gets the result of the one before.
        return caller.target not in _LOOPS and operand is not None
