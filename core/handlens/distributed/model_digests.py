"""Digests by which ranks find out whether they have the same model and the same batches."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from handlens import digests
from handlens.capture.export import Captured
from handlens.capture.nodes import graph_modules, op_of, value_of
from handlens.recipes import Quantized

Digests = dict[str, str]


def of_models(captured: Captured, quantized: Quantized) -> Digests:
    """The digests of a model's parts, by what each is in words."""
    program = captured.program
    found = {
        name: digests.of([value])
        for name, value in {**program.state_dict, **program.constants}.items()
        if isinstance(value, Tensor)
    }
    found["the exported program"] = digests.of([_text(program.graph_module)])
    for what, graph in (("reference", quantized.reference), ("quantized model", quantized.actual)):
        constants = (
            value_of(node)
            for part in graph_modules(graph)
            for node in part.graph.nodes
            if node.op == "get_attr"
        )
        tensors = [each for each in constants if isinstance(each, Tensor)]
        found[f"the {what}"] = digests.of([_text(graph), *tensors])
    return found


def of_batch(batch: Any) -> str:
    """The digest of the tensors and plain values in a batch."""
    return digests.of(pytree.tree_leaves(batch))


def _text(model: GraphModule) -> str:
    """All that a graph and its bodies compute, constants aside."""
    return "\n".join(
        f"{node.name} {node.op} {op_of(node)} {node.args} {node.kwargs} {node.meta.get('custom')}"
        for part in graph_modules(model)
        for node in part.graph.nodes
    )
