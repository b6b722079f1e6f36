"""What a torchao quantizer has annotated, and what is left of it if more ops stay in float."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from torch.fx import Graph, GraphModule, Node
from torchao.quantization.pt2e import prepare
from torchao.quantization.pt2e.quantizer import (
    DerivedQuantizationSpec,
    QuantizationAnnotation,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from handlens.capture.handles import handle_of
from handlens.comparison.ops import selects

Place = str | tuple[str, str]
"""The output of a node, by its name, or an edge, by the names of both nodes."""


class Annotated:
    """A copy of an annotated graph, which tells what would be quantized if more ops were kept in float."""

    def __init__(self, model: GraphModule) -> None:
        self.graph = Graph()
        copies: dict[Node, Node] = {}
        for node in model.graph.nodes:
            copies[node] = self.graph.node_copy(node, copies.__getitem__)
        self.names = {made: node.name for node, made in copies.items()}
        """By node of the copy, the name that the node has in the reference, too."""
        for node, made in copies.items():
            if Q_ANNOTATION_KEY in node.meta:
                made.meta[Q_ANNOTATION_KEY] = _translated(node.meta[Q_ANNOTATION_KEY], copies)
        self.nodes = [node for node in self.graph.nodes if Q_ANNOTATION_KEY in node.meta]
        """The nodes with an annotation, in the order of the graph."""
        self._order = {self.names[node]: place for place, node in enumerate(self.graph.nodes)}
        self._layouts: dict[frozenset[int], Layout] = {}
        self._lost: dict[int, Set[Place]] = {}
        """By op, the places that lose their quantizers if it is kept in float."""

    def places(self, kept: Set[int]) -> Set[Place]:
        """The places that have a quantizer, with the ops ``kept`` in float."""
        everything = self.layout(frozenset()).places.keys()
        # An op loses the same places whatever other ops do; only who shares with whom depends on them.
        return everything - frozenset().union(*map(self._lost_with, kept))

    def _lost_with(self, handle: int) -> Set[Place]:
        if handle not in self._lost:
            with self._stripped(frozenset((handle,))) as specifications:
                left = set(map(self._place, specifications))
            self._lost[handle] = self.layout(frozenset()).places.keys() - left
        return self._lost[handle]

    def layout(self, kept: Set[int]) -> Layout:
        """Which places share an observer, with the ops ``kept`` in float."""
        key = frozenset(kept)
        if key not in self._layouts:
            self._layouts[key] = self._layout(key)
        return self._layouts[key]

    def _layout(self, kept: Set[int]) -> Layout:
        with self._stripped(kept) as specifications:
            groups = prepare._get_edge_or_node_to_group_id(specifications)
        members: dict[int, list[Any]] = defaultdict(list)
        for place in specifications:
            members[groups[place]].append(place)
        places: dict[Place, Observer] = {}
        for group in members.values():
            own = (
                specifications[each]
                for each in group
                if not isinstance(specifications[each], SharedQuantizationSpec)
            )
            sources = {self.names[each if isinstance(each, Node) else each[0]] for each in group}
            observer = Observer(
                tuple(sorted(sources, key=self._order.__getitem__)), next(own, None)
            )
            places |= {self._place(each): observer for each in group}
        return Layout(places)

    def _place(self, place: Any) -> Place:
        if isinstance(place, Node):
            return self.names[place]
        return self.names[place[0]], self.names[place[1]]

    @contextmanager
    def _stripped(self, kept: Set[int]) -> Iterator[dict[Any, Any]]:
        """By node and by edge, the specifications that are left without the ops ``kept``."""
        before = {node: node.meta[Q_ANNOTATION_KEY] for node in self.nodes}
        for node, annotation in before.items():
            node.meta[Q_ANNOTATION_KEY] = stripped = copy.copy(annotation)
            stripped.input_qspec_map = dict(annotation.input_qspec_map)
        strip(self.graph, [node for node in self.graph.nodes if handle_of(node) in kept], [])
        try:
            # torchao asks for the graph of the module alone.
            model: Any = SimpleNamespace(graph=self.graph)
            yield prepare._get_edge_or_node_to_qspec(model)
        finally:
            for node, annotation in before.items():
                node.meta[Q_ANNOTATION_KEY] = annotation


@dataclass(frozen=True, eq=False)
class Observer:
    """An observer, by the tensors that it sees: the outputs of nodes, by their names, in this order."""

    sources: tuple[str, ...]
    specification: Any

    def sees_what(self, other: Observer) -> bool:
        """True if both give the same range: they see the same tensors, and are made alike."""
        return self.sources == other.sources and self.specification == other.specification


@dataclass(frozen=True)
class Layout:
    """By place, its observer. Places that share an observer share its range."""

    places: dict[Place, Observer]

    def chain(self, source: str, reader: str, is_tensor: bool = True) -> list[Observer]:
        """The observers between a node and one that reads it, in the order in which values pass them.

        The output of a node that gives no tensor, ``is_tensor``, has none.
        """
        output = self.places.get(source) if is_tensor else None
        edge = self.places.get((source, reader))
        return [each for each in dict.fromkeys((output, edge)) if each is not None]


def strip(graph: Graph, kept: list[Node], others: list[Node]) -> None:
    """Remove the annotations of ``kept`` ops and all quantizers of their outputs; of ``others``, only their
    own annotations."""
    annotations: dict[Node, QuantizationAnnotation] = {
        node: node.meta[Q_ANNOTATION_KEY] for node in graph.nodes if Q_ANNOTATION_KEY in node.meta
    }
    gone: dict[Any, Any] = {}
    """What was removed: by edge (source, reader) or by node, for its output, the specification."""

    def remove(node: Node) -> None:
        annotation = annotations.pop(node, None)
        if annotation is not None:
            del node.meta[Q_ANNOTATION_KEY]
            gone.update(
                ((source, node), spec) for source, spec in annotation.input_qspec_map.items()
            )
            gone[node] = annotation.output_qspec

    for node in others:
        remove(node)
    pending = list(kept)
    while pending:
        node = pending.pop()
        remove(node)
        for user in node.users:
            if selects(user) and user.all_input_nodes == [node]:
                pending.append(user)
            elif user in annotations and node in annotations[user].input_qspec_map:
                gone[(node, user)] = annotations[user].input_qspec_map.pop(node)
    _share_anew(annotations, gone)


def _share_anew(annotations: dict[Node, QuantizationAnnotation], gone: dict[Any, Any]) -> None:
    """Repair specifications that share or derive from one that was removed.

    The first that shared it gets it, the others share with that one, and derived ones are removed, too.
    """
    for node, annotation in annotations.items():
        places = [(source, (source, node)) for source in annotation.input_qspec_map]
        for source, place in (*places, (None, node)):
            spec = annotation.output_qspec if source is None else annotation.input_qspec_map[source]
            root = spec.edge_or_node if isinstance(spec, SharedQuantizationSpec) else None
            while root in gone and isinstance(gone[root], SharedQuantizationSpec):
                root = gone[root].edge_or_node
            derived = isinstance(spec, DerivedQuantizationSpec) and any(
                each in gone for each in spec.derived_from
            )
            if derived:
                spec = None
            elif root in gone:
                spec, gone[root] = gone[root], SharedQuantizationSpec(place)
            elif root is not None:
                spec = SharedQuantizationSpec(root)
            if source is None:
                annotation.output_qspec = spec
            elif spec is None:
                del annotation.input_qspec_map[source]
            else:
                annotation.input_qspec_map[source] = spec


def _translated(
    annotation: QuantizationAnnotation, copies: dict[Node, Node]
) -> QuantizationAnnotation:
    """An annotation that refers to the copies of the nodes."""

    def place(each: Any) -> Any:
        return copies[each] if isinstance(each, Node) else (copies[each[0]], copies[each[1]])

    def specification(each: Any) -> Any:
        if isinstance(each, SharedQuantizationSpec):
            return replace(each, edge_or_node=place(each.edge_or_node))
        if isinstance(each, DerivedQuantizationSpec):
            return replace(each, derived_from=[place(one) for one in each.derived_from])
        return each

    made = copy.copy(annotation)
    made.input_qspec_map = {
        copies[source]: specification(each) for source, each in annotation.input_qspec_map.items()
    }
    made.output_qspec = specification(annotation.output_qspec)
    return made
