"""Calibration that is done once: what an observer saw is given to one that would see the same.

Observers do not change what flows through a prepared graph. So a second graph of the same program, with
other ops kept in float, has observers that see the same values in the same order, and some that do not.
Only these need to run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, BinaryIO
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torchao.quantization.pt2e.observer import MinMaxObserver, PerChannelMinMaxObserver

from handlens.capture.nodes import graph_modules, is_observer
from handlens.comparison.memory import Memory
from handlens.comparison.ops import is_random
from handlens.recipes.observing import Range, observing


@dataclass
class _Calibrated:
    """What the observers of one float graph saw on some batches."""

    batches: Iterable[Any]
    graph: Hashable
    """Tells the float graph from others."""
    states: dict[Hashable, tuple[dict[str, Tensor], Range]] = field(default_factory=dict)
    """By what an observer is and sees: its buffers after calibration, and the range of what it saw."""


# They keep the smallest and the largest value.
_OF_EXTREMES = (MinMaxObserver, PerChannelMinMaxObserver)
_CALIBRATED: WeakKeyDictionary[ExportedProgram, _Calibrated] = WeakKeyDictionary()


def calibrate(
    prepared: GraphModule,
    program: ExportedProgram,
    batches: Iterable[Any],
    run: Callable[[], None],
) -> dict[nn.Module, Range]:
    """Calibrate a prepared graph of ``program``; what is known from ``batches`` already is not run again.

    Args:
        batches: What ``run`` gets its inputs from. The same object stands for the same inputs.
        run: Runs the graph on all batches.

    Returns the range that each observer of activations saw.
    """
    if not _is_repeatable(prepared):
        with observing(prepared, {}) as seen:
            run()
        return seen
    graph = _signature(prepared)
    before = _CALIBRATED.get(program)
    is_new = before is None or before.batches is not batches or before.graph != graph
    calibrated = _Calibrated(batches, graph) if before is None or is_new else before
    keys = _keys(prepared)
    states = calibrated.states
    known = {observer: states[key] for observer, key in keys.items() if key in states}
    for observer, (buffers, _) in known.items():
        _give(observer, buffers)
    with observing(prepared, {each: seen for each, (_, seen) in known.items()}) as seen:
        # Without any observer, too: a batch may be one that the model cannot take.
        if is_new or len(known) < len(keys):
            with _idle(known), _looking_once(_of_constants(prepared)):
                run()
    for observer, key in keys.items():
        states[key] = _buffers(observer), seen.get(observer)
    _CALIBRATED[program] = calibrated
    return seen


def save_calibration(program: ExportedProgram, file: BinaryIO) -> None:
    """Write what is known of the calibration of a program, if anything is."""
    if (calibrated := _CALIBRATED.get(program)) is not None:
        torch.save((calibrated.graph, calibrated.states), file)


def load_calibration(program: ExportedProgram, batches: Iterable[Any], file: BinaryIO) -> None:
    """Know what was written of the calibration of a program on the same batches."""
    graph, states = torch.load(file, weights_only=False)
    _CALIBRATED[program] = _Calibrated(batches, graph, states)


def _is_repeatable(prepared: GraphModule) -> bool:
    """True if observers that are made alike see the same in every run, which leaves nothing else behind."""
    memory = Memory(prepared)
    observers = (attrgetter(str(each.target))(prepared) for each in _observers(prepared))
    return (
        len(list(graph_modules(prepared))) == 1
        and not any(map(is_random, prepared.graph.nodes))
        # Conversion computes what depends on constants alone, and a run may have changed them.
        and not any(
            each.op == "get_attr" and memory.is_written(each) for each in prepared.graph.nodes
        )
        # What a fake quantizer gives is another value than it saw.
        and not any(list(each.children()) for each in observers)
    )


def _observers(prepared: GraphModule) -> Iterator[Node]:
    return filter(is_observer, prepared.graph.nodes)


def _signature(prepared: GraphModule) -> Hashable:
    """The float graph under the observers."""
    nodes = (node for node in prepared.graph.nodes if not is_observer(node))
    return tuple(
        (node.name, node.op, str(node.target), repr(map_arg((node.args, node.kwargs), _observed)))
        for node in nodes
    )


def _observed(node: Node) -> Node:
    """The node that an observer observes; any other is itself."""
    while is_observer(node):
        (node,) = node.all_input_nodes
    return node


def _keys(prepared: GraphModule) -> dict[nn.Module, Hashable]:
    """By observer, what it is, and the nodes that it observes, in the order in which it does."""
    sources: dict[nn.Module, list[str]] = defaultdict(list)
    for node in _observers(prepared):
        sources[attrgetter(str(node.target))(prepared)].append(_observed(node).name)
    return {each: (*_made(each), *names) for each, names in sources.items()}


def _made(observer: nn.Module) -> tuple[Hashable, ...]:
    """How an observer was made. It has seen nothing yet."""
    public = {name: repr(each) for name, each in vars(observer).items() if name[0] != "_"}
    buffers = {
        name: (each.shape, each.tolist() if each.numel() == 1 else None)
        for name, each in observer.named_buffers()
    }
    return str(type(observer)), repr(sorted(public.items())), repr(sorted(buffers.items()))


def _buffers(observer: nn.Module) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in observer.named_buffers()}


def _give(observer: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, each in observer.named_buffers():
            each.detach_().resize_(buffers[name].shape).copy_(buffers[name])


@contextmanager
def _idle(observers: Iterable[nn.Module]) -> Iterator[None]:
    """Let these observers see nothing while the block runs."""
    with ExitStack() as stack:
        for each in observers:
            each.forward = _pass
            stack.callback(delattr, each, "forward")
        yield


@contextmanager
def _looking_once(observers: Iterable[nn.Module]) -> Iterator[None]:
    """Let these observers see the first value alone while the block runs."""

    def look(observer: nn.Module, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
        observer.forward = _pass
        return forward(value)

    with ExitStack() as stack:
        for each in observers:
            if "forward" not in vars(each):
                each.forward = partial(look, each, each.forward)
                stack.callback(delattr, each, "forward")
        yield


def _pass(value: Tensor) -> Tensor:
    return value


def _of_constants(prepared: GraphModule) -> Iterator[nn.Module]:
    """The observers that see the same constant in each batch, and learn nothing from it the second time."""
    calls = Counter(str(each.target) for each in _observers(prepared))
    for node in _observers(prepared):
        source, observer = _observed(node), attrgetter(str(node.target))(prepared)
        is_alone = source.op == "get_attr" and calls[str(node.target)] == 1
        if is_alone and type(observer) in _OF_EXTREMES:
            yield observer
