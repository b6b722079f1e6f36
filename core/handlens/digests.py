"""Digests by which processes find out whether they have the same model, and the same batches."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from handlens.capture.export import Captured
from handlens.capture.nodes import graph_modules, op_of, value_of
from handlens.recipes import Quantized

Digests = dict[str, str]


def of_models(captured: Captured, quantized: Quantized) -> Digests:
    """The digests of a model's parts, by what each is in words."""
    program = captured.program
    found = {
        name: of([value])
        for name, value in {**program.state_dict, **program.constants}.items()
        if isinstance(value, Tensor)
    }
    found["the exported program"] = of([_text(program.graph_module)])
    for what, graph in (("reference", quantized.reference), ("quantized model", quantized.actual)):
        constants = (
            value_of(node)
            for part in graph_modules(graph)
            for node in part.graph.nodes
            if node.op == "get_attr"
        )
        tensors = [each for each in constants if isinstance(each, Tensor)]
        found[f"the {what}"] = of([_text(graph), *tensors])
    return found


def of_batch(batch: Any) -> str:
    """The digest of the tensors and plain values in a batch."""
    return of(pytree.tree_leaves(batch))


def _text(model: GraphModule) -> str:
    """All that a graph and its bodies compute, constants aside."""
    return "\n".join(
        f"{node.name} {node.op} {op_of(node)} {node.args} {node.kwargs} {node.meta.get('custom')}"
        for part in graph_modules(model)
        for node in part.graph.nodes
    )


def of(values: Iterable[Any]) -> str:
    """The digest of tensors and plain values."""
    found = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor):
            for each in _plain(value):
                found.update(f"{each.dtype} {tuple(each.shape)}".encode())
                found.update(_memory(each))
        elif isinstance(value, (str, bytes, int, float, complex, bool, type(None))):
            found.update(f"{value!r}\n".encode("utf-8", "surrogatepass"))
        else:
            # What two processes make of an object need not have the same text.
            found.update(type(value).__qualname__.encode())
    return found.hexdigest()


def _plain(value: Tensor) -> Iterator[Tensor]:
    """The tensors that a tensor subclass is made of, as that of a packed weight; others as they are."""
    if type(value) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer) and hasattr(
        value, "__tensor_flatten__"
    ):
        names, _ = value.__tensor_flatten__()
        for name in names:
            yield from _plain(getattr(value, name))
    else:
        value = value.detach()
        dense = value if value.layout == torch.strided else value.to_dense()
        yield dense.cpu().resolve_conj().resolve_neg().contiguous()


def _memory(value: Tensor) -> Any:
    """The memory of a tensor. NumPy, which could give it, need not be installed."""
    size = value.numel() * value.element_size()
    return (ctypes.c_char * size).from_address(value.data_ptr()) if size else b""
