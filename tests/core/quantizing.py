"""From a model to the two graphs of a recipe, without a file and a session around it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.fx import GraphModule, Node

from handlens import recipes
from handlens.capture.export import Captured, capture
from handlens.capture.handles import generate_numeric_debug_handle, handle_of
from handlens.capture.nodes import is_dequantize
from handlens.loading.subject import Subject
from handlens.recipes import Quantized


def captured(model: nn.Module, *args: Tensor, strict: bool = False) -> Captured:
    result = capture(model.eval(), args, strict=strict)
    generate_numeric_debug_handle(result.program)
    return result


def quantize(
    model: nn.Module, *args: Tensor, recipe: Any = "x86", strict: bool = False, **subject: Any
) -> Quantized:
    """Calibrated with the example inputs."""
    program = captured(model, *args, strict=strict)
    batches: list[tuple[tuple[Any, ...], dict[str, Any]]] = [(args, {})]
    return recipes.resolve(recipe).quantize(
        program, Subject(model, args, calibration=batches, **subject)
    )


def dequantize_nodes(result: Quantized) -> int:
    return sum(is_dequantize(node) for node in result.actual.graph.nodes)


def ops(model: GraphModule) -> dict[int, Node]:
    """The ops of a graph by handle, dequantize nodes left out."""
    return {
        handle: node
        for node in model.graph.nodes
        if (handle := handle_of(node)) is not None and not is_dequantize(node)
    }


def named(model: GraphModule, name: str) -> list[Node]:
    """The ops of a graph called ``name``, ``linear`` say."""
    return [node for node in ops(model).values() if node.name.rstrip("_0123456789") == name]
