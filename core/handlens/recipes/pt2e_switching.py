"""The switch of recipes that quantize with a torchao quantizer.

torchao inserts an observer for every place that a quantizer has annotated: the output of a node, or an edge
between two nodes. With other ops kept in float, some places go away. What is left has the quantizers of the
calibration that was, unless an observer has lost one of the tensors that it saw: then another one observes
the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree
from torchao.quantization.pt2e.prepare import _create_obs_or_fq_from_qspec
from torchao.quantization.pt2e.quantizer import DerivedQuantizationSpec, QuantizationAnnotation
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    example,
    is_dequantize,
    is_quantize,
    is_quantize_or_dequantize,
    value_of,
)
from handlens.comparison.memory import state_restored
from handlens.comparison.ops import selects
from handlens.loading.inputs import Inputs
from handlens.recipes.annotations import Annotated, Layout, Observer
from handlens.recipes.switching import CannotSwitch, copied


@dataclass(frozen=True)
class _Quantizer:
    """A quantize op and a dequantize op of the quantized graph, and the scale and zero point to use."""

    quantize: Node | None
    """None where a constant was quantized beforehand."""
    dequantize: Node
    range: tuple[float, int] | None = None
    """None for those of the ops themselves."""


@dataclass(frozen=True)
class _Edge:
    """An input of an op that passes quantizers, by the names of the nodes in the reference."""

    source: str
    reader: str
    is_tensor: bool
    position: int
    """Among the leaves of the arguments of the reader."""
    constant: Node | None
    """The node of the reference that is read, if torchao has quantized its value beforehand."""
    root: Node
    """The node of the quantized graph at the head of the quantizers."""


class Pt2eSwitch:
    """Rewires a quantized graph: the quantizers that ``keep_float`` would remove are bypassed."""

    def __init__(
        self,
        annotated: Annotated,
        reference: GraphModule,
        actual: GraphModule,
        calibration: Callable[[], Iterator[Inputs]],
        survivor: Callable[[int], int | None],
    ) -> None:
        self._annotated = annotated
        self._reference, self._actual = reference, actual
        self._calibration, self._survivor = calibration, survivor
        self._layout = annotated.layout(frozenset())
        self._quantizers: dict[Observer, _Quantizer] = {}
        """By observer of the layout, what it has become."""
        self._observers: dict[tuple[str, ...], list[Observer]] = defaultdict(list)
        """By what they see, the observers of the layout and those that were made since."""
        self._readers: dict[str, Node] = {}
        self._edges = list(self._find_edges())

    # -- what can be switched ----------------------------------------------------------------------

    @property
    def units(self) -> list[frozenset[int]]:
        patterns = self._patterns()
        found = [self._handles(nodes) for nodes in patterns if not all(map(selects, nodes))]
        # What shares one observer may win only if all of it is kept.
        found += [
            self._sharing(observer, patterns)
            for observer in dict.fromkeys(self._layout.places.values())
            if len(observer.sources) > 1
        ]
        distinct = {each for each in found if each}
        return sorted(distinct, key=lambda each: (min(each), len(each), sorted(each)))

    def _patterns(self) -> list[list[Node]]:
        """The nodes that are computed together, as the quantizer has annotated them or next to that."""
        pattern: dict[Node, list[Node]] = {}
        annotated = set(self._annotated.nodes)
        for node in self._annotated.graph.nodes:
            if node not in annotated and not self._is_rounded(node):
                continue
            pattern[node] = [node]
            for source in node.all_input_nodes:
                # The result of an op inside of a pattern is read by the next op of the pattern alone.
                inside = source in pattern and len(source.users) == 1
                if inside and self._belongs_to(node, source, annotated):
                    joined = pattern[source]
                    if joined is not pattern[node]:
                        joined.extend(pattern[node])
                        pattern.update((each, joined) for each in pattern[node])
        return list({id(each): each for each in pattern.values()}.values())

    def _is_rounded(self, node: Node) -> bool:
        """True if the output of an op is rounded by an op that reads it."""
        name, names = self._annotated.names[node], self._annotated.names
        is_op = node.op == "call_function" and handle_of(node) is not None
        return is_op and any((name, names[each]) in self._layout.places for each in node.users)

    def _handles(self, nodes: Iterable[Node]) -> frozenset[int]:
        """The handles of the nodes that decide whether a value is quantized."""
        found = set()
        for node in nodes:
            annotation = node.meta.get(Q_ANNOTATION_KEY) or QuantizationAnnotation()
            has_own = annotation.input_qspec_map or annotation.output_qspec is not None
            if has_own or self._is_rounded(node):
                found.add(handle_of(node))
        return frozenset(each for each in found if each is not None)

    def _belongs_to(self, node: Node, source: Node, annotated: Set[Node]) -> bool:
        if node not in annotated:
            # An activation, say, that the quantizer does not know.
            return len(node.all_input_nodes) == 1
        names = self._annotated.names
        return source in annotated and not self._layout.chain(names[source], names[node])

    def _sharing(self, observer: Observer, patterns: Iterable[Sequence[Node]]) -> frozenset[int]:
        """The handles of all ops whose inputs or output one observer sees."""
        names = self._annotated.names
        places = {place for place, each in self._layout.places.items() if each is observer}
        readers = {place if isinstance(place, str) else place[1] for place in places}
        sharing = [nodes for nodes in patterns if any(names[each] in readers for each in nodes)]
        return frozenset().union(*map(self._handles, sharing))

    # -- the graph ---------------------------------------------------------------------------------

    def rounded_edges(self, kept: Set[int]) -> Set[tuple[str, str]]:
        left = self._annotated.places(self._survivors(kept))
        return {
            (edge.source, edge.reader)
            for edge in self._edges
            if edge.source not in left and (edge.source, edge.reader) not in left
        }

    def graph(self, kept: Set[int]) -> GraphModule:
        layout = self._annotated.layout(self._survivors(kept))
        self._observe_missing(layout)
        model, copies = copied(self._actual)
        changed: dict[Node, dict[int, Node]] = defaultdict(dict)
        for edge in self._edges:
            before = self._layout.chain(edge.source, edge.reader, edge.is_tensor)
            after = layout.chain(edge.source, edge.reader, edge.is_tensor)
            if list(map(self._quantizer, after)) != list(map(self._quantizer, before)):
                reader = self._readers[edge.reader]
                with model.graph.inserting_before(copies[reader]):
                    changed[reader][edge.position] = self._input(edge, after, model, copies)
        for reader, inputs in changed.items():
            made = copies[reader]
            leaves, structure = pytree.tree_flatten((made.args, made.kwargs))
            leaves = [inputs.get(position, each) for position, each in enumerate(leaves)]
            made.args, made.kwargs = pytree.tree_unflatten(leaves, structure)
        model.recompile()
        return model

    def _survivors(self, kept: Set[int]) -> Set[int]:
        return frozenset(each for each in map(self._survivor, kept) if each is not None)

    def _quantizer(self, observer: Observer) -> _Quantizer:
        known = self._observers[observer.sources]
        return self._quantizers[next(filter(observer.sees_what, known))]

    def _input(
        self, edge: _Edge, chain: Sequence[Observer], model: GraphModule, copies: dict[Node, Node]
    ) -> Node:
        """Add the quantizers of a chain before the reader. Returns the node to read."""
        graph, constant = model.graph, edge.constant
        node = copies[edge.root] if constant is None else _with_constants(constant, model)
        for quantizer in map(self._quantizer, chain):
            quantize, dequantize = quantizer.quantize, quantizer.dequantize
            if quantize is None or not callable(quantize.target) or not callable(dequantize.target):
                raise CannotSwitch(f"{edge.source} is quantized like a constant")
            scale = quantizer.range or quantize.args[1:3]
            scale = pytree.tree_map_only(Node, copies.__getitem__, tuple(scale))
            node = graph.call_function(quantize.target, (node, *scale, *quantize.args[3:]))
            node.meta = dict(quantize.meta)
            node = graph.call_function(
                dequantize.target, (node, *scale, *dequantize.args[3:]), dict(dequantize.kwargs)
            )
            node.meta = dict(dequantize.meta)
        return node

    def _find_edges(self) -> Iterator[_Edge]:
        """The inputs of ops of the quantized graph that pass quantizers."""
        actual = {node.name: node for node in self._actual.graph.nodes}
        for node in self._reference.graph.nodes:
            if node.op in ("placeholder", "get_attr"):
                continue
            twin = actual.get(node.name)
            if twin is None or twin.target != node.target:
                if self._touches(node):
                    raise CannotSwitch(f"{node.name} is not in the quantized graph")
                # What depends on constants alone may have been computed by torchao.
                continue
            self._readers[node.name] = twin
            theirs = pytree.tree_leaves((node.args, node.kwargs))
            mine = pytree.tree_leaves((twin.args, twin.kwargs))
            if len(theirs) != len(mine):
                raise CannotSwitch(f"{node.name} has other inputs in the quantized graph")
            for position, (source, read) in enumerate(zip(theirs, mine)):
                if isinstance(read, Node) and is_dequantize(read):
                    yield self._edge(node, source, read, position)

    def _touches(self, node: Node) -> bool:
        """True if a quantizer stands at the output of a node of the reference, or at one of its inputs."""
        places = {node.name, *((each.name, node.name) for each in node.all_input_nodes)}
        return not places.isdisjoint(self._layout.places)

    def _edge(self, reader: Node, source: Node, read: Node, position: int) -> _Edge:
        root, quantizers = _unwound(read)
        is_tensor = isinstance(example(source), Tensor)
        chain = self._layout.chain(source.name, reader.name, is_tensor)
        if len(chain) != len(quantizers):
            raise CannotSwitch(f"{reader.name} reads {source.name} in an unknown way")
        for observer, quantizer in zip(chain, quantizers):
            if observer not in self._quantizers:
                self._quantizers[observer] = quantizer
                self._observers[observer.sources].append(observer)
        constant = source if quantizers[0].quantize is None else None
        return _Edge(source.name, reader.name, is_tensor, position, constant, root)

    # -- ranges ------------------------------------------------------------------------------------

    def _observe_missing(self, layout: Layout) -> None:
        """Calibrate the observers of a layout that see other tensors than any that is known."""
        new: list[Observer] = []
        for observer in dict.fromkeys(layout.places.values()):
            if not any(map(observer.sees_what, (*self._observers[observer.sources], *new))):
                new.append(observer)
        if new:
            self._observe(new)

    def _observe(self, observers: Sequence[Observer]) -> None:
        """Calibrate observers that are not those of the recipe."""
        modules: dict[Observer, Any] = {}
        seen: dict[str, list[Any]] = defaultdict(list)
        for observer in observers:
            specification = observer.specification
            if specification is None or isinstance(specification, DerivedQuantizationSpec):
                raise CannotSwitch("a quantizer derives from others")
            modules[observer] = _create_obs_or_fq_from_qspec(specification, {}, False)
            for source in observer.sources:
                seen[source].append(modules[observer])

        class Observing(Interpreter):
            def run_node(self, n: Node) -> Any:
                value = super().run_node(n)
                for module in seen.get(n.name, ()):
                    module(value)
                return value

        with torch.no_grad(), state_restored(self._reference):
            for inputs in self._calibration():
                Observing(self._reference).run(
                    *pytree.tree_leaves(inputs), enable_io_processing=False
                )
        for observer, module in modules.items():
            like = self._like(observer)
            scale, zero_point = module.calculate_qparams()
            if (
                like.quantize is None
                or scale.numel() != 1
                or isinstance(like.quantize.args[1], Node)
            ):
                raise CannotSwitch("a quantizer has several scales")
            self._quantizers[observer] = _Quantizer(
                like.quantize, like.dequantize, (float(scale), int(zero_point))
            )
            self._observers[observer.sources].append(observer)

    def _like(self, observer: Observer) -> _Quantizer:
        """A quantizer of the recipe with the same specification, whatever its range."""
        for each, quantizer in self._quantizers.items():
            if each.specification == observer.specification and quantizer.quantize is not None:
                return quantizer
        raise CannotSwitch("a quantizer has a specification that none had before")


def _with_constants(node: Node, model: GraphModule) -> Node:
    """Add a node of the reference that depends on constants alone, and the nodes that it reads."""
    if node.op == "placeholder":
        raise CannotSwitch(f"{node.name} is no constant")
    copy = model.graph.node_copy(node, lambda each: _with_constants(each, model))
    if node.op == "get_attr":
        copy.target = f"float_{node.name}"
        setattr(model, copy.target, value_of(node))
    return copy


def _unwound(node: Node) -> tuple[Node, list[_Quantizer]]:
    """The node at the head of a chain of quantizers, and the chain in order."""
    found: list[_Quantizer] = []
    while is_quantize_or_dequantize(node):
        source = node.args[0]
        assert isinstance(source, Node)
        if is_quantize(source):
            found.append(_Quantizer(source, node))
            assert isinstance(source.args[0], Node)
            node = source.args[0]
        else:
            found.append(_Quantizer(None, node))
            node = source
    return node, found[::-1]
