"""What ops cost: the multiply-adds and the weight bytes of each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from torch.fx import GraphModule, Node

from handlens.advice_report import Cost
from handlens.capture.handles import handle_of
from handlens.capture.nodes import example, graph_modules, op_name, value_of


@dataclass(frozen=True)
class Costs:
    """The multiply-adds and the weights of each op of a model, bodies of control flow included."""

    multiply_adds: dict[int, int]
    """By handle."""
    weights: dict[int, dict[int, int]]
    """By handle, by the identity of each constant that the op reads, its bytes."""

    @classmethod
    def of(cls, reference: GraphModule) -> Costs:
        multiply_adds: dict[int, int] = {}
        weights: dict[int, dict[int, int]] = {}
        for graph_module in graph_modules(reference):
            for node in graph_module.graph.nodes:
                if (handle := handle_of(node)) is not None:
                    multiply_adds[handle] = _multiply_adds(node)
                    weights[handle] = dict(_weights(node))
        return cls(multiply_adds, weights)

    def share(self, handles: Iterable[int]) -> Cost:
        """The share of the model's multiply-adds and weight bytes that some ops have."""
        handles = list(handles)
        ours = sum(self.multiply_adds.get(each, 0) for each in handles)
        read: dict[int, int] = {}
        for each in handles:
            read |= self.weights.get(each, {})
        every: dict[int, int] = {}
        for some in self.weights.values():
            every |= some
        return Cost(
            ours / max(1, sum(self.multiply_adds.values())),
            sum(read.values()) / max(1, sum(every.values())),
        )


def _weights(node: Node) -> Iterable[tuple[int, int]]:
    for source in node.all_input_nodes:
        value = value_of(source)
        if isinstance(value, Tensor) and value.is_floating_point():
            yield id(value), value.numel() * value.element_size()


def _multiply_adds(node: Node) -> int:
    """The multiply-adds of one execution of an op; 0 for ops that multiply no matrices."""
    name, out = op_name(node), example(node)
    shapes = [
        each.shape if isinstance(each := example(source), Tensor) else None
        for source in (arg for arg in node.args if isinstance(arg, Node))
    ]
    if not isinstance(out, Tensor) or len(shapes) < 2 or shapes[0] is None or shapes[1] is None:
        return 0
    first, second = shapes[0], shapes[1]
    if name.startswith("conv_transpose"):
        # Every input value meets the weights of its channel.
        return int(math.prod(first) * math.prod(second[1:]))
    if name.startswith("conv"):
        return int(out.numel() * math.prod(second[1:]))
    if name in ("linear", "matmul", "bmm", "mm"):
        return int(out.numel() * first[-1])
    if name in ("addmm", "baddbmm"):
        return int(out.numel() * second[-1])
    if name == "scaled_dot_product_attention":
        return int(2 * math.prod(first) * second[-2])
    return 0
