"""``adjust`` for recipes with a torchao quantizer: other number formats and observers in its annotations.

Ops that the quantizer takes together (a convolution and its ReLU) are adjusted together. What shares a
quantizer with an adjusted value shares the new one, too, as the inputs and the output of a ``cat`` do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch.fx import Graph, Node
from torchao.quantization.pt2e.observer import (
    HistogramObserver,
    MinMaxObserver,
    PerChannelMinMaxObserver,
    UniformQuantizationObserverBase,
)
from torchao.quantization.pt2e.prepare import (
    _get_edge_or_node_to_group_id,
    _get_edge_or_node_to_qspec,
)
from torchao.quantization.pt2e.quantizer import (
    DerivedQuantizationSpec,
    QuantizationSpec,
    QuantizationSpecBase,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from handlens.advice_report import ChangeKind
from handlens.capture.handles import handle_of
from handlens.capture.nodes import op_name
from handlens.comparison.ops import selects
from handlens.recipes.adjusting import Adjustment, refusal

_Place = Node | tuple[Node, Node]
"""Where a quantizer stands: at the output of a node, or between a node and one of its readers."""

_Change = Callable[[QuantizationSpec, _Place], QuantizationSpec | None]

_EIGHT_BITS = (torch.int8, torch.uint8)
_SCALED_BY_TENSOR = (None, torch.per_tensor_affine, torch.per_tensor_symmetric)
_SYMMETRIC = (torch.per_tensor_symmetric, torch.per_channel_symmetric)


# -- what a kind does to a specification: None if it cannot change it, the same one if it need not --


def _per_channel(spec: QuantizationSpec, place: _Place) -> QuantizationSpec | None:
    assert isinstance(place, tuple)
    if spec.qscheme not in _SCALED_BY_TENSOR:
        return spec
    if _observer(spec) is None:
        return None
    return replace(
        spec,
        qscheme=torch.per_channel_symmetric
        if spec.qscheme in _SYMMETRIC
        else torch.per_channel_affine,
        # The weight of a transposed convolution has the inputs first.
        ch_axis=1 if "transpose" in op_name(place[1]) else 0,
        observer_or_fake_quant_ctr=_made(PerChannelMinMaxObserver, _eps(spec)),
    )


def _eight_bits(spec: QuantizationSpec, place: _Place) -> QuantizationSpec | None:
    if spec.dtype not in _EIGHT_BITS or None in (spec.quant_min, spec.quant_max):
        return None
    if spec.quant_max - spec.quant_min >= 254:
        return spec
    limits = torch.iinfo(spec.dtype)
    lowest = -limits.max if spec.quant_min == -spec.quant_max else limits.min
    return replace(spec, quant_min=lowest, quant_max=limits.max)


def _sixteen_bits(spec: QuantizationSpec, place: _Place) -> QuantizationSpec | None:
    if spec.dtype == torch.int16:
        return spec
    if spec.dtype not in _EIGHT_BITS or _observer(spec) is None:
        return None
    eps = _eps(spec)
    return replace(
        spec,
        dtype=torch.int16,
        quant_min=-32767,
        quant_max=32767,
        qscheme=torch.per_tensor_symmetric,
        ch_axis=None,
        # A histogram has too few bins to tell what clipping costs beside steps as fine as these.
        # The smallest scale stands for the same smallest range as before.
        observer_or_fake_quant_ctr=_made(MinMaxObserver, eps and eps / 256),
    )


def _observed_by(kind: Any) -> _Change:
    def change(spec: QuantizationSpec, place: _Place) -> QuantizationSpec | None:
        if _observer(spec) is kind:
            return spec
        if _observer(spec) is None or spec.qscheme not in _SCALED_BY_TENSOR:
            return None
        return replace(spec, observer_or_fake_quant_ctr=_made(kind, _eps(spec)))

    return change


def _observer(spec: QuantizationSpec) -> type[UniformQuantizationObserverBase] | None:
    """The class of the observer that calibrates a quantizer; None if calibration does not."""
    maker: Any = spec.observer_or_fake_quant_ctr
    kind = getattr(getattr(maker, "p", None), "func", maker)
    is_calibrated = isinstance(kind, type) and issubclass(kind, UniformQuantizationObserverBase)
    return kind if is_calibrated and not spec.is_dynamic else None


def _eps(spec: QuantizationSpec) -> float | None:
    """The smallest scale that the observer of a specification gives; None if it does not say."""
    partial = getattr(spec.observer_or_fake_quant_ctr, "p", None)
    eps = getattr(partial, "keywords", {}).get("eps")
    return eps if isinstance(eps, float) else None


# torchao compares the makers of observers by identity, and specifications that are equal must compare so.
@cache
def _made(kind: Any, eps: float | None) -> Any:
    return kind.with_args() if eps is None else kind.with_args(eps=eps)


@dataclass(frozen=True)
class _Kind:
    change: _Change
    of_weights: bool


_KINDS: dict[ChangeKind, _Kind] = {
    "weight-per-channel": _Kind(_per_channel, True),
    "weight-8-bit": _Kind(_eight_bits, True),
    "activation-16-bit": _Kind(_sixteen_bits, False),
    "observer-min-max": _Kind(_observed_by(MinMaxObserver), False),
    "observer-histogram": _Kind(_observed_by(HistogramObserver), False),
}


class _Annotations:
    """The quantizers that the annotations of a graph ask for, and how they can be changed."""

    def __init__(self, graph: Graph) -> None:
        # torchao asks for the graph of the module alone.
        model: Any = SimpleNamespace(graph=graph)
        specs = _get_edge_or_node_to_qspec(model)
        self._specs: dict[_Place, Any] = {
            place: spec for place, spec in specs.items() if spec is not None
        }

    def alternatives(self, node: Node) -> tuple[ChangeKind, ...]:
        """The kinds that change a quantizer of an op."""
        return tuple(
            name
            for name, kind in _KINDS.items()
            if any(
                changed not in (None, spec) for spec, changed in self._changes(_unit(node), kind)
            )
        )

    def accepts(self, node: Node, kind: ChangeKind) -> bool:
        """True if an op has what a kind asks for, or can have it."""
        return kind in _KINDS and any(
            changed is not None for _, changed in self._changes(_unit(node), _KINDS[kind])
        )

    def adjust(self, nodes: Iterable[Node], name: ChangeKind) -> None:
        """Change the quantizers of some ops, and all that are shared with one of them."""
        kind = _KINDS[name]
        places = {place for node in nodes for place in self._places(_unit(node), kind)}
        if not kind.of_weights:
            groups = _get_edge_or_node_to_group_id(self._specs)
            wanted = {groups[place] for place in places}
            # What shares the quantizer of another place gets what that place gets.
            places = {
                place
                for place, group in groups.items()
                if group in wanted and not isinstance(self._specs[place], SharedQuantizationSpec)
            }
        for place in places:
            changed = self._changed(place, kind)
            if changed is not None:
                self._put(place, changed)
                self._derive_by_channel(place, changed)

    def _changes(self, unit: set[Node], kind: _Kind) -> Iterator[tuple[Any, Any]]:
        for place in self._places(unit, kind):
            yield self._root(place), self._changed(place, kind)

    def _changed(self, place: _Place, kind: _Kind) -> QuantizationSpec | None:
        spec = self._root(place)
        return kind.change(spec, place) if isinstance(spec, QuantizationSpec) else None

    def _root(self, place: _Place) -> Any:
        """The specification of a place, or that of the place which it shares a quantizer with."""
        spec = self._specs[place]
        while isinstance(spec, SharedQuantizationSpec):
            spec = self._specs.get(spec.edge_or_node)
        return spec

    def _derive_by_channel(self, weight: _Place, spec: QuantizationSpec) -> None:
        """Let a bias whose scale is derived from that of a weight have as many scales."""
        for place, derived in list(self._specs.items()):
            if (
                isinstance(derived, DerivedQuantizationSpec)
                and weight in derived.derived_from
                and spec.qscheme not in _SCALED_BY_TENSOR
            ):
                by_channel = replace(derived, qscheme=torch.per_channel_symmetric, ch_axis=0)
                self._put(place, by_channel)

    def _put(self, place: _Place, spec: QuantizationSpecBase) -> None:
        self._specs[place] = spec
        if isinstance(place, tuple):
            place[1].meta[Q_ANNOTATION_KEY].input_qspec_map[place[0]] = spec
        else:
            place.meta[Q_ANNOTATION_KEY].output_qspec = spec

    def _places(self, unit: set[Node], kind: _Kind) -> Iterator[_Place]:
        return self._weights(unit) if kind.of_weights else self._activations(unit)

    def _weights(self, unit: set[Node]) -> Iterator[_Place]:
        for reader in unit:
            for source in reader.all_input_nodes:
                if (source, reader) in self._specs and _is_weight(source, reader):
                    yield source, reader

    def _activations(self, unit: set[Node]) -> Iterator[_Place]:
        """Where what the ops give is quantized, and what they read and the op before does not quantize."""
        for reader in unit:
            for source in reader.all_input_nodes:
                is_own = (source, reader) in self._specs and source not in self._specs
                if is_own and not _is_weight(source, reader):
                    yield source, reader
        given = list(unit)
        while given:
            node = given.pop()
            if node in self._specs:
                yield node
            for reader in node.users:
                if (node, reader) in self._specs:
                    yield node, reader
                if selects(reader) and reader.all_input_nodes == [node]:
                    given.append(reader)


def _unit(node: Node) -> set[Node]:
    """An op and those that a quantizer takes together with it: between them nothing is quantized."""
    unit = {node}
    pending = [node]
    while pending:
        node = pending.pop()
        near = [each for each in node.all_input_nodes if _are_together(each, node)]
        near += [each for each in node.users if _are_together(node, each)]
        pending += [each for each in near if each not in unit]
        unit.update(near)
    return unit


def _are_together(source: Node, reader: Node) -> bool:
    before, after = source.meta.get(Q_ANNOTATION_KEY), reader.meta.get(Q_ANNOTATION_KEY)
    if before is None or after is None or source.op != "call_function":
        return False
    return before.output_qspec is None and after.input_qspec_map.get(source) is None


def _is_weight(source: Node, reader: Node) -> bool:
    """True if an op multiplies what it reads with the values of ``source``, or looks them up there."""
    name = op_name(reader)
    if name == "embedding":
        return reader.args[0] is source
    return name.startswith(("conv", "linear")) and reader.args[1] is source


def adjust(
    wanted: Iterable[Adjustment],
    recipe: str,
    graph: Graph,
    survivor: Callable[[int], int | None],
) -> None:
    """Change what a quantizer has annotated as a target wants it.

    Args:
        survivor: gives the handle of an op, or that of the op which it was folded into.

    Raises InvalidTarget for a kind that none of its ops can have.
    """
    nodes = _by_handle(graph)
    annotations = _Annotations(graph)
    # The observer that a target names holds for 16 bits, too.
    for each in sorted(wanted, key=lambda each: each.kind.startswith("observer")):
        handles = sorted({handle for one in each.handles if (handle := survivor(one))})
        there = [nodes[handle] for handle in handles]
        if not any(annotations.accepts(node, each.kind) for node in there):
            kinds = (kind for node in there for kind in annotations.alternatives(node))
            raise refusal(each, recipe, kinds)
        annotations.adjust(there, each.kind)


def possible(graph: Graph) -> dict[int, tuple[ChangeKind, ...]]:
    """By handle, the kinds that would change how an op of an annotated graph is quantized."""
    annotations = _Annotations(graph)
    kinds = {handle: annotations.alternatives(node) for handle, node in _by_handle(graph).items()}
    return {handle: each for handle, each in kinds.items() if each}


def _by_handle(graph: Graph) -> dict[int, Node]:
    return {handle: node for node in graph.nodes if (handle := handle_of(node)) is not None}
