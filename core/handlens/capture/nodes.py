"""Questions about the nodes of a graph that every later step asks: which op, what values, which bodies."""

from __future__ import annotations

import operator
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase
from torchao.quantization.pt2e.observer import AffineQuantizedObserverBase, ObserverBase

# -- the op ----------------------------------------------------------------------------------------


def op_of(node: Node) -> str:
    """The op of a node as a report has it: ``aten.conv2d.default``, or the name of what the node calls."""
    if isinstance(node.target, (str, torch._ops.OpOverload)):
        return str(node.target)
    return str(getattr(node.target, "__name__", node.target))


def op_name(node: Node) -> str:
    """The name of a node's op without namespace and overload: ``conv2d``; empty where it calls none."""
    if node.target is operator.getitem:
        return "getitem"
    return node.target._opname if isinstance(node.target, torch._ops.OpOverload) else ""


# Dynamo names a captured module by the way it found it: ``L['args'][1].__self__.block``.
_CAPTURED = re.compile(r"L\[.*\]\.(?:__self__|cell_contents)\.?(?P<path>.*)")


def module_paths(node: Node) -> list[str]:
    """The paths of the modules that an op was called in, outermost first."""
    paths = (str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values())
    return [found["path"] if (found := _CAPTURED.fullmatch(path)) else path for path in paths]


def module_of(node: Node) -> str:
    """The path of the innermost module that an op was called in; empty outside of all modules."""
    paths = module_paths(node)
    return paths[-1] if paths else ""


# -- its values ------------------------------------------------------------------------------------

HALF = (torch.float16, torch.bfloat16)
"""The types of half precision."""


def value_of(argument: Any) -> Any:
    """A literal argument, or the constant that a ``get_attr`` node names; None if it is computed."""
    if not isinstance(argument, Node):
        return argument
    return _attribute(argument) if argument.op == "get_attr" else None


def _attribute(node: Node) -> Any:
    value: Any = node.graph.owning_module
    for name in str(node.target).split("."):
        value = getattr(value, name, None)
    return value


def example(node: Node) -> Any:
    """The fake tensors that export noted for the outputs of a node; None if it noted none."""
    return node.meta.get("val")


def example_tensors(node: Node) -> list[Tensor]:
    """The tensors among them, one for each output of the op."""
    return [each for each in pytree.tree_leaves(example(node)) if isinstance(each, Tensor)]


def dtype(node: Node) -> torch.dtype | None:
    """The type of a node's values; of an op with several outputs, that of the first in floating point."""
    tensors = example_tensors(node)
    floating = [each for each in tensors if each.is_floating_point()]
    return next((each.dtype for each in (*floating, *tensors)), None)


def dtype_name(dtype: torch.dtype) -> str:
    """``bfloat16`` for ``torch.bfloat16``."""
    return str(dtype).removeprefix("torch.")


def in_half(node: Node) -> bool:
    """True if a node computes in half precision."""
    return dtype(node) in HALF


def is_floating(node: Node) -> bool:
    """True if a node gives one tensor of real floating point numbers."""
    value = example(node)
    return isinstance(value, Tensor) and value.is_floating_point()


def is_complex(node: Node) -> bool:
    """True if a node gives one tensor of complex numbers."""
    value = example(node)
    return isinstance(value, Tensor) and value.is_complex()


def is_whole(node: Node) -> bool:
    """True if a node gives one tensor of integers or truth values, by which values may be selected."""
    value = example(node)
    return isinstance(value, Tensor) and not (value.is_floating_point() or value.is_complex())


# -- its graph -------------------------------------------------------------------------------------


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
            if isinstance(body := value_of(node), GraphModule):
                queue.append(body)


def placeholders(model: GraphModule) -> list[Node]:
    """The nodes of the inputs of a graph."""
    return [node for node in model.graph.nodes if node.op == "placeholder"]


def output(model: GraphModule) -> Node:
    """The node that returns the outputs of a graph."""
    node: Node = next(iter(reversed(model.graph.nodes)))
    return node


def bodies(node: Node) -> list[Node]:
    """The arguments of a control-flow op that name its bodies."""
    return [
        each
        for each in node.args
        if isinstance(each, Node) and isinstance(value_of(each), GraphModule)
    ]


def operands(node: Node, body: Node) -> list[tuple[Node, Any]]:
    """The placeholders of a body, each with the argument of the control-flow op that it gets at first.

    Empty where that is not known.
    """
    inputs = placeholders(value_of(body))
    known = bodies(node)
    # What comes before the operands (a condition, a setting) is no input of a body.
    given = [each for each in pytree.tree_leaves(list(node.args)) if each not in known]
    if len(given) < len(inputs):
        return []
    return list(zip(inputs, given[len(given) - len(inputs) :]))


# -- quantizers ------------------------------------------------------------------------------------


def is_observer(node: Node) -> bool:
    """True if a node of a prepared graph is an observer or a fake quantizer."""
    return node.op == "call_module" and isinstance(
        _attribute(node), (ObserverBase, AffineQuantizedObserverBase, FakeQuantizeBase)
    )


def is_quantize(node: Node) -> bool:
    """True if a node turns floating point values into integers."""
    return _is_quantization_op(node, "quantize_")


def is_dequantize(node: Node) -> bool:
    """True if a node turns integers back into floating point values."""
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
