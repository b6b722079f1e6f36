"""Rewrites of a graph before a quantizer sees it, so that faults of torchao do not show."""

from __future__ import annotations

from torch.fx import GraphModule

from handlens.comparison.nodes import has_effect


def leave_out_unread(model: GraphModule) -> None:
    """Take away, in place, what nothing reads and what has no effect.

    X86InductorQuantizer raises at such an op. When a model is lowered, it goes anyway.
    """
    for node in reversed(model.graph.nodes):
        # A module is called for what it checks.
        is_needed = node.op == "call_module" or node.is_impure() or has_effect(node)
        if not node.users and not is_needed:
            model.graph.erase_node(node)
    model.recompile()
