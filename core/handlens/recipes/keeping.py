"""``keep_float``: the ops that a target wants left in float, and a quantizer that leaves them there.

A kept op computes in float from float weights. No op that reads its output gets a quantizer for it, nor do
ops that select from it (a view, a slice). Its neighbours stay quantized: a kept op may read the dequantized
output of one, and an op that reads the kept op's output has a quantized weight.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, Quantizer
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from handlens.capture.export import Captured
from handlens.capture.handles import handle_of
from handlens.capture.nodes import bodies, example, graph_modules, module_paths, value_of
from handlens.loading.subject import InvalidTarget
from handlens.recipes.annotations import Annotated, strip
from handlens.recipes.folding import hidden
from handlens.recipes.leftovers import QUANTIZED

Adjust = Callable[[Graph, Callable[[int], int | None]], None]
"""Changes the annotations of a graph; the second argument is ``Keeping.survivor``."""

_SCALARS_TO_FLOAT = (torch.ops.aten.add.Tensor, torch.ops.aten.mul.Tensor)


def kept_handles(
    captured: Captured, keep_float: Iterable[str | int], key: str = "keep_float"
) -> frozenset[int]:
    """The handles of the ops that ``keep_float`` names. A module path names all ops that run below it.

    Raises InvalidTarget for an entry that names no op; the message says that the target's ``key`` has it.
    """
    paths: dict[str, set[int]] = {}
    for handle, called_in in _handles_and_paths(captured.program.graph_module, ()):
        for path in called_in:
            paths.setdefault(path, set()).add(handle)
    handles = set().union(*paths.values())
    kept: set[int] = set()
    for entry in keep_float:
        if isinstance(entry, int) and entry not in handles:
            raise InvalidTarget(
                f"{key} has {entry}, and no op has that debug handle: "
                f"there are {min(handles, default=0)} to {max(handles, default=0)}"
            )
        if isinstance(entry, str) and entry not in paths:
            raise InvalidTarget(f"{key} has {_no_module(entry, list(paths))}")
        kept |= {entry} if isinstance(entry, int) else paths[entry]
    return frozenset(kept)


def _handles_and_paths(
    model: GraphModule, callers: tuple[str, ...]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The handle of every op of a graph and its bodies, and the paths of the modules it was called in."""
    for node in model.graph.nodes:
        handle = handle_of(node)
        if handle is None:
            continue
        called_in = *callers, *module_paths(node)
        yield handle, called_in or ("",)
        for body in bodies(node):
            yield from _handles_and_paths(value_of(body), called_in)


def _no_module(entry: str, paths: list[str]) -> str:
    close = difflib.get_close_matches(entry, paths, 3, 0.5) or [
        path for path in paths if path.rpartition(".")[2] == entry.rpartition(".")[2]
    ]
    advice = f"Is it {' or '.join(map(repr, close[:3]))}?" if close else _some(paths)
    return f"{entry!r}, and no op runs in a module of that path. {advice}"


def _some(paths: list[str]) -> str:
    top = [path for path in paths if path and "." not in path]
    return f"There are {', '.join(map(repr, top[:5]))}." if top else "The model has no submodules."


class Keeping(Quantizer):  # type: ignore[misc]
    """Wraps a quantizer so that integer tensors and the ops to keep in float are left alone."""

    def __init__(
        self, quantizer: Quantizer, captured: Captured, kept: frozenset[int], adjust: Adjust
    ) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.annotated: set[int | None] = set()
        """The handles of the ops with a quantizer for an input or the output, filled by ``annotate``."""
        self.fused: set[int | None] = set()
        """The handles of the ops without one that are computed together with an annotated op."""
        self.result: Annotated
        """What ``annotate`` has annotated."""
        self._kept = kept
        self._adjust = adjust
        self._there: set[int | None] = set()
        self._sources = {
            handle: handle_of(node.all_input_nodes[0])
            for graph_module in graph_modules(captured.program)
            for node in graph_module.graph.nodes
            if (handle := handle_of(node)) is not None and node.all_input_nodes
        }

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        # XNNPACKQuantizer turns scalars into float constants, also where integers make an index.
        others = [
            node
            for node in model.graph.nodes
            if node.target in _SCALARS_TO_FLOAT and not _can_be_quantized(node)
        ]
        with hidden(others):
            model = self.quantizer.transform_for_annotation(model)
        model.recompile()
        return model

    def annotate(self, model: GraphModule) -> GraphModule:
        model = self.quantizer.annotate(model)
        self._there = {handle_of(node) for node in model.graph.nodes}
        self._adjust(model.graph, self.survivor)
        kept = set(map(self.survivor, self._kept)) - {None}
        nodes = list(model.graph.nodes)
        stay = [node for node in nodes if handle_of(node) in kept]
        others = [
            node for node in nodes if not all(map(_can_be_quantized, _annotated_values(node)))
        ]
        if stay or others:
            strip(model.graph, stay, others)
        for graph_module in graph_modules(model):
            for node in graph_module.graph.nodes:
                annotation = node.meta.get(Q_ANNOTATION_KEY)
                if annotation is None:
                    continue
                has_own = annotation.input_qspec_map or annotation.output_qspec is not None
                (self.annotated if has_own else self.fused).add(handle_of(node))
        self.result = Annotated(model)
        return model

    def survivor(self, handle: int | None) -> int | None:
        """The handle of an op, or that of the op which it read and was folded into."""
        while handle is not None and handle not in self._there:
            handle = self._sources.get(handle)
        return handle

    def validate(self, model: GraphModule) -> None:
        self.quantizer.validate(model)

    def prepare_obs_or_fq_callback(
        self, model: GraphModule, edge_or_node_to_obs_or_fq: Any
    ) -> None:
        self.quantizer.prepare_obs_or_fq_callback(model, edge_or_node_to_obs_or_fq)


def _annotated_values(node: Node) -> Iterator[Node]:
    """The nodes whose values the annotation of a node asks to quantize."""
    annotation = node.meta.get(Q_ANNOTATION_KEY) or QuantizationAnnotation()
    for source, spec in annotation.input_qspec_map.items():
        if spec is not None:
            yield source
    if annotation.output_qspec is not None:
        yield node


def _can_be_quantized(node: Node) -> bool:
    """True if observers and quantize ops accept the values of a node, or if its type is not known."""
    value = example(node)
    return not isinstance(value, torch.Tensor) or value.dtype in QUANTIZED
