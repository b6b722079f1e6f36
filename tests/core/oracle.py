"""What the figures of a comparison must be, worked out without the comparison.

Both graphs run alone, node by node, each on state of its own, and everything that they compute is kept
as it was at that moment. The figures come from these copies, in float64. It is slow, takes memory without
bounds, and has nothing in common with ``handlens.comparison``.
"""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.export._tree_utils import reorder_kwargs
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from handlens.capture.handles import handle_of
from handlens.capture.nodes import graph_modules, is_dequantize, is_quantize
from handlens.recipes import Quantized

Batch = tuple[tuple[Any, ...], dict[str, Any]]
State = dict[str, Tensor]
"""Tensors by the names that the nodes of a top level graph have for them."""

_hops = torch.ops.higher_order
_HALF = (torch.float16, torch.bfloat16)

# Ops each of whose output values is an input value, or the zero that every quantizer has.
_MOVES = frozenset(
    (
        *("view", "view_as", "_unsafe_view", "reshape", "reshape_as", "flatten", "unflatten"),
        *("squeeze", "unsqueeze", "permute", "transpose", "t", "movedim", "swapaxes", "swapdims"),
        *("expand", "expand_as", "broadcast_to", "contiguous", "clone", "alias", "detach"),
        *("slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind", "getitem"),
        *("cat", "stack", "index", "index_select", "gather", "take_along_dim", "masked_select"),
        *(
            "flip",
            "roll",
            "repeat",
            "tile",
            "repeat_interleave",
            "pixel_shuffle",
            "pixel_unshuffle",
        ),
        *("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d"),
        "relu",
    )
)
_UNINITIALIZED = frozenset(
    ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted")
)
_SELECTS_BY_MASK = frozenset(("index", "masked_select"))

# What stands in memory that nobody has written yet.
_POISON = {True: math.nan, False: 85}


# -- energies --------------------------------------------------------------------------------------


@dataclass
class Energies:
    """Signal and noise of any number of pairs of values, in float64."""

    signal: float = 0.0
    noise: float = 0.0
    count: int = 0
    non_finite: int = 0
    """Values that are finite in the reference only. Where the reference is not, nothing is compared."""
    mismatch: str = ""
    """Why a pair could not be compared, if one could not."""

    def add(self, reference: Any, actual: Any) -> None:
        """Take in two equal structures of tensors: the floating point ones, or all where there are none."""
        pairs = list(zip(_tensors(reference), _tensors(actual)))
        if not pairs or len(_tensors(reference)) != len(_tensors(actual)):
            self.mismatch = "no tensors, or another number of them"
            return
        floating = [(r, a) for r, a in pairs if _is_floating(r)]
        for r, a in floating or pairs:
            if r.shape != a.shape:
                self.mismatch = f"shapes {tuple(r.shape)} and {tuple(a.shape)}"
                return
            self._add(_reals(r), _reals(a))

    def _add(self, reference: Tensor, actual: Tensor) -> None:
        known = reference.isfinite()
        both = known & actual.isfinite()
        self.non_finite += int((known & ~both).sum())
        r, a = reference[both], actual[both]
        self.count += r.numel()
        self.signal += float((r * r).sum())
        self.noise += float(((r - a) ** 2).sum())

    @property
    def verdict(self) -> str:
        if self.non_finite:
            return "non-finite"
        if self.noise == 0:
            return "exact"
        return "ok" if self.signal else "no-signal"

    @property
    def sqnr_db(self) -> float | None:
        if self.verdict != "ok":
            return None
        return 10 * math.log10(self.signal / self.noise)


def _tensors(value: Any) -> list[Tensor]:
    return [each for each in pytree.tree_leaves(value) if isinstance(each, Tensor)]


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _reals(value: Tensor) -> Tensor:
    if value.is_complex():
        value = torch.view_as_real(value.to(torch.complex128).resolve_conj())
    return value.double().flatten()


# -- copies ----------------------------------------------------------------------------------------


def snapshot(value: Any) -> Any:
    """A copy of all tensors of a structure, with their strides; what shares memory does so in the copy."""
    storages: dict[int, torch.UntypedStorage] = {}

    def copied(tensor: Tensor) -> Tensor:
        if type(tensor) not in (Tensor, nn.Parameter):
            # A quantized weight, which nothing changes.
            return tensor
        if tensor.is_conj() or tensor.is_neg():
            return tensor.resolve_conj().resolve_neg().clone()
        storage = tensor.untyped_storage()
        copy = storages.setdefault(storage.data_ptr(), storage.clone())
        result = torch.empty(0, dtype=tensor.dtype)
        result.set_(copy, tensor.storage_offset(), tensor.size(), tensor.stride())
        # Some kernels round in another way for what has gradients.
        return result.requires_grad_(tensor.requires_grad)

    with torch.no_grad():
        return pytree.tree_map_only(Tensor, copied, value)


def tensors_of(model: GraphModule) -> State:
    """The tensors that the nodes of a graph, bodies of control flow left out, get by name."""
    found = {str(node.target): _attribute(node) for node in model.graph.find_nodes(op="get_attr")}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _attribute(node: Node) -> Any:
    return operator.attrgetter(str(node.target))(node.graph.owning_module)


def inputs_of(model: GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """What the placeholders of a graph are given when it is called so."""
    in_spec = model.graph._codegen.pytree_info.in_spec  # type: ignore[attr-defined]
    return pytree.tree_leaves((args, reorder_kwargs(kwargs, in_spec)))


# -- runs ------------------------------------------------------------------------------------------


@dataclass
class Log:
    """What one graph computed in one batch, by node and execution."""

    values: dict[Node, list[Any]] = field(default_factory=lambda: defaultdict(list))
    """What a node gave, as it was then."""
    reads: dict[Node, list[dict[Node, Any]]] = field(default_factory=lambda: defaultdict(list))
    """What a node was given, by the node that it came from, as it was before the op."""
    dice: dict[Node, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    """The random state before the op."""
    uninitialized: set[Node] = field(default_factory=set)
    """The nodes some of whose output nobody had written."""
    output: Any = None


class Run(Interpreter):
    """Runs a graph and the bodies of its control flow, and keeps all that they compute."""

    def __init__(self, model: GraphModule, state: State, log: Log) -> None:
        super().__init__(model, garbage_collect_values=False)
        self._state, self._log = state, log

    def run_node(self, n: Node) -> Any:
        if n.op in ("placeholder", "output"):
            value = super().run_node(n)
        else:
            read = {each: self.env[each] for each in n.all_input_nodes}
            self._log.reads[n].append(snapshot(read))
            self._log.dice[n].append(torch.get_rng_state())
            value = super().run_node(n)
            self._look_for_poison(n, value)
        self._log.values[n].append(snapshot(value))
        return value

    def _look_for_poison(self, n: Node, value: Any) -> None:
        tensors = _tensors(value)
        if op_name(n) in _UNINITIALIZED:
            for each in tensors:
                each.fill_(_POISON[_is_floating(each)])
            self._log.uninitialized.add(n)
        fresh = {
            each.untyped_storage().data_ptr()
            for node in self._log.uninitialized & self.env.keys()
            for each in _tensors(self.env[node])
        }
        for each in tensors:
            if type(each) in (Tensor, nn.Parameter) and each.untyped_storage().data_ptr() in fresh:
                poison = each.isnan() if _is_floating(each) else each == _POISON[False]
                if bool(poison.any()):
                    self._log.uninitialized.add(n)

    def fetch_attr(self, target: str) -> Any:
        return self._state[target] if target in self._state else super().fetch_attr(target)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in _CONTROL_FLOW:
            return _CONTROL_FLOW[target](self._body, *args)
        return super().call_function(target, args, kwargs)

    def _body(self, body: GraphModule, *inputs: Any) -> Any:
        run = Run(body, tensors_of(body), self._log)
        return run.run(*inputs, enable_io_processing=False)


RunBody = Callable[..., Any]


def _cond(run: RunBody, decision: Any, true: Any, false: Any, inputs: Sequence[Any] = ()) -> Any:
    return run(true if bool(decision) else false, *inputs)


def _while_loop(
    run: RunBody, more: Any, body: Any, carried: Sequence[Any], fixed: Sequence[Any] = ()
) -> Any:
    carried = pytree.tree_map_only(Tensor, torch.clone, tuple(carried))
    # A condition is returned alone, and not in a tuple.
    while bool(pytree.tree_leaves(run(more, *carried, *fixed))[0]):
        carried = run(body, *carried, *fixed)
    return tuple(carried)


def _map(run: RunBody, body: Any, mapped: Sequence[Any], fixed: Sequence[Any] = ()) -> Any:
    return _stacked([run(body, *each, *fixed) for each in zip(*mapped)])


def _scan(
    run: RunBody, body: Any, carried: Sequence[Any], scanned: Sequence[Any], fixed: Sequence[Any]
) -> Any:
    number, outputs = len(carried), []
    for each in zip(*scanned):
        result = run(body, *carried, *each, *fixed)
        carried = result[:number]
        outputs.append(result[number:])
    return (*carried, *_stacked(outputs))


def _stacked(outputs: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.stack(each) for each in zip(*outputs)]


def _autocast(
    run: RunBody, device: str, dtype: Any, enabled: bool, cached: bool, body: Any, *inputs: Any
) -> Any:
    with torch.autocast(device, dtype, enabled, cached):
        return run(body, *inputs)


_CONTROL_FLOW: Mapping[Any, Callable[..., Any]] = {
    _hops.cond: _cond,
    _hops.while_loop: _while_loop,
    _hops.map_impl: _map,
    _hops.scan: _scan,
    _hops.wrap_with_set_grad_enabled: lambda run, _, body, *inputs: run(body, *inputs),
    _hops.wrap_with_autocast: _autocast,
}


def run_alone(model: GraphModule, state: State, batch: Batch, seed: int) -> Log:
    """One graph on a copy of one batch. ``state`` is what it changes."""
    log = Log()
    torch.manual_seed(seed)
    args, kwargs = snapshot(batch)
    run = Run(model, state, log)
    with torch.no_grad():
        output = run.run(*inputs_of(model, args, kwargs), enable_io_processing=False)
    log.output = snapshot(output)
    return log


def output_of(model: GraphModule, given: State, batch: Batch, seed: int) -> Any:
    """What calling a graph gives, without any interpreter. Its state stays as it is."""
    state = tensors_of(model)
    before = snapshot(state)
    args, kwargs = snapshot(batch)
    with torch.no_grad():
        _set_state(state, given)
        torch.manual_seed(seed)
        output = snapshot(model(*args, **kwargs))
        _set_state(state, before)
    return output


def _set_state(state: State, values: State) -> None:
    for name, value in values.items():
        if name in state and type(value) in (Tensor, nn.Parameter):
            state[name].copy_(value)


def started(model: GraphModule, given: State) -> State:
    """A graph's state of its own, as the model was given."""
    state: State = snapshot(tensors_of(model))
    with torch.no_grad():
        _set_state(state, given)
    return state


def written_by(model: GraphModule, batches: Iterable[Batch]) -> State:
    """The state that running a graph changes, as it is before. The graph's own stays as it is."""
    given = snapshot(tensors_of(model))
    state = snapshot(given)
    for batch in batches:
        run_alone(model, state, batch, 0)
    return {name: value for name, value in given.items() if not torch.equal(value, state[name])}


# -- nodes -----------------------------------------------------------------------------------------


def op_name(node: Node) -> str:
    """The name of an op, without its overload and the underscore of those in place."""
    if node.target is operator.getitem:
        return "getitem"
    target = node.target
    name = target._opname if isinstance(target, torch._ops.OpOverload) else ""
    return name[:-1] if name.endswith("_") else name


def _is_q_or_dq(node: Node) -> bool:
    return is_quantize(node) or is_dequantize(node)


def _source(node: Node, passes: Callable[[Node], bool]) -> Node:
    """The nearest node up the chain of first arguments that does not ``pass``."""
    while passes(node):
        node = node.all_input_nodes[0]
    return node


def _is_own_cast(node: Node) -> bool:
    """Whether a half precision graph casts here of its own accord: it is no op of the program."""
    return handle_of(node) is None and op_name(node) in ("to", "_to_copy")


def _passes(node: Node) -> bool:
    return _is_q_or_dq(node) or _is_own_cast(node)


def quantizers_of(node: Node) -> list[tuple[Node, Node]]:
    """The quantize nodes of an op's output, each with the first node that dequantizes it."""
    found = []
    for user in node.users:
        dequantizes = [each for each in user.users if is_dequantize(each)]
        if is_quantize(user) and user.args[0] is node and dequantizes:
            found.append((user, dequantizes[0]))
    return found


@dataclass(frozen=True)
class Pair:
    """One op of both graphs."""

    handle: int
    name: str
    """The node's name in the reference, after the path of the bodies that it is in."""
    reference: Node
    actual: Node
    is_top_level: bool
    counterparts: Mapping[Node, Node]
    """By node of the actual graph, the node of the reference that has the same value but for errors."""


def pairs_of(reference: GraphModule, actual: GraphModule, path: str = "") -> Iterator[Pair]:
    """The ops that both graphs have, those in the bodies of control flow included."""
    theirs, ours = _by_handle(reference), _by_handle(actual)
    counterparts = {ours[handle]: theirs[handle] for handle in ours if handle in theirs}
    for op, key in (("placeholder", None), ("get_attr", "target")):
        mine, others = (list(each.graph.find_nodes(op=op)) for each in (actual, reference))
        if key is None:
            counterparts |= zip(mine, others)
        else:
            by_target = {node.target: node for node in others}
            counterparts |= {n: by_target[n.target] for n in mine if n.target in by_target}
    for handle, node in theirs.items():
        if handle not in ours:
            continue
        yield Pair(handle, path + node.name, node, ours[handle], not path, counterparts)
        for r, a in zip(_bodies(node), _bodies(ours[handle])):
            yield from pairs_of(_attribute(r), _attribute(a), f"{path}{r.target}.")


def _by_handle(model: GraphModule) -> dict[int, Node]:
    return {
        handle: node
        for node in model.graph.nodes
        if (handle := handle_of(node)) is not None and not _is_q_or_dq(node)
    }


def _bodies(node: Node) -> list[Node]:
    return [
        each
        for each in node.all_input_nodes
        if each.op == "get_attr" and isinstance(_attribute(each), GraphModule)
    ]


# -- figures ---------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What is true of one op."""

    handle: int
    name: str
    accumulated: Energies = field(default_factory=Energies)
    introduced: Energies = field(default_factory=Energies)
    executions: int = 0
    parted: str = ""
    """Why an execution of it cannot be compared, if one cannot."""

    @property
    def incomparable(self) -> str:
        """Why nothing is true of it; empty if something is."""
        if not self.executions:
            return self.parted or "never executed"
        return self.parted or self.accumulated.mismatch


@dataclass
class Truth:
    """What is true of two graphs."""

    ops: dict[tuple[int, str], Figures]
    """By handle and name: an op of a region without gradients shares its handle with what reads it."""
    output: Energies


class Oracle:
    """Runs both graphs and works out their figures.

    ``given`` is the state that running the model changes, as it was before anybody ran it.
    """

    def __init__(self, quantized: Quantized, given: State) -> None:
        self._reference, self._actual = quantized.reference, quantized.actual
        self._written = frozenset(given)
        self._states = [started(each, given) for each in (self._reference, self._actual)]
        self._pairs = list(pairs_of(self._reference, self._actual))
        figures = [Figures(each.handle, each.name) for each in self._pairs]
        self.truth = Truth({(each.handle, each.name): each for each in figures}, Energies())

    def run(self, batch: Batch, seed: int) -> None:
        """Take in one batch, both runs of which start from ``seed``."""
        models = (self._reference, self._actual)
        reference, actual = (
            run_alone(model, state, batch, seed) for model, state in zip(models, self._states)
        )
        with torch.no_grad():
            for pair in self._pairs:
                figures = self.truth.ops[pair.handle, pair.name]
                figures.parted = figures.parted or _parted(pair, reference, actual)
                if not figures.parted:
                    self._add(figures, pair, reference, actual)
        self.truth.output.add(reference.output, actual.output)

    def _add(self, figures: Figures, pair: Pair, reference: Log, actual: Log) -> None:
        for execution, value in enumerate(reference.values[pair.reference]):
            figures.executions += 1
            quantizers = quantizers_of(pair.actual)
            read = [dequantize for _, dequantize in quantizers] or [pair.actual]
            left = _left_by_a_mask(pair.reference, value, actual.values[read[0]][execution])
            for node in read:
                figures.accumulated.add(left(value), left(actual.values[node][execution]))
            if figures.accumulated.mismatch:
                return
            alone = _OnReferenceInputs(pair, self._written, reference, actual, execution)
            for exact, introduced in alone.results(value):
                figures.introduced.add(left(exact), left(introduced))


def _left_by_a_mask(node: Node, value: Any, actual: Any) -> Callable[[Any], Any]:
    """What leaves out the values of an op that a softmax sees in neither graph: e^-40 of the largest."""
    if not all(op_name(each) == "softmax" for each in node.users) or not _is_floating(value):
        return lambda each: each
    hidden = torch.ones_like(value, dtype=torch.bool)
    for each in (value, actual):
        hidden &= each.double() - each.double().amax(-1, keepdim=True) <= -40
    return lambda each: each[~hidden]


def _parted(pair: Pair, reference: Log, actual: Log) -> str:
    """Why an op cannot be compared in this batch; empty if it can."""
    theirs, ours = reference.values[pair.reference], actual.values[pair.actual]
    if len(theirs) != len(ours):
        return f"executed {len(theirs)} and {len(ours)} times"
    if pair.reference in reference.uninitialized or pair.actual in actual.uninitialized:
        return "uninitialized memory"
    if op_name(pair.reference) in _SELECTS_BY_MASK:
        for r, a in zip(reference.reads[pair.reference], actual.reads[pair.actual]):
            masks = [[t for t in _tensors(each) if t.dtype == torch.bool] for each in (r, a)]
            if any(not torch.equal(*each) for each in zip(*masks)):
                return "another mask"
    return ""


class _OnReferenceInputs:
    """One execution of an op in the quantized way, on what the reference op was given."""

    def __init__(
        self, pair: Pair, written: frozenset[str], reference: Log, actual: Log, execution: int
    ) -> None:
        self._pair, self._written, self._execution = pair, written, execution
        self._reference, self._actual = reference, actual
        self._op = pair.actual
        self._read = actual.reads[pair.actual][execution]

    def results(self, reference: Any) -> list[tuple[Any, Any]]:
        """Pairs of what should have come out and what came out; none if the op adds nothing."""
        if self._op.target in _CONTROL_FLOW:
            return []
        exact, plain = reference, reference
        if self._is_half(reference):
            if op_name(self._op) in _MOVES and not self._reads_cast_input():
                return []
            exact, plain = self._exact_for_half(), self._computed()
        elif self._reads_cast_input() or any(
            map(self._is_quantized_constant, self._op.all_input_nodes)
        ):
            plain = self._computed()
        return [
            (exact, plain if self._only_moves(quantize) else self._requantized(plain, *both))
            for both in quantizers_of(self._op)
            for quantize in both[:1]
        ] or [(exact, plain)]

    # -- constants ---------------------------------------------------------------------------------

    def _is_quantized_constant(self, source: Node) -> bool:
        """Whether an input is one that the op itself answers for: a weight, or an input of the model."""
        if source.op == "get_attr":
            value = self._read[source]
            return isinstance(value, Tensor) and type(value) not in (Tensor, nn.Parameter)
        if not is_dequantize(source):
            return False
        origin = _source(source, _is_q_or_dq)
        return origin.op == "get_attr" or (origin.op == "placeholder" and self._pair.is_top_level)

    def _is_input(self, twin: Node) -> bool:
        """Whether a node of the reference is an input of the model: the op that reads it answers for its
        cast."""
        return twin.op == "placeholder" and self._pair.is_top_level

    def _reads_cast_input(self) -> bool:
        twins = {
            each: self._pair.counterparts.get(_source(each, _passes))
            for each in self._op.all_input_nodes
        }
        return any(
            twin is not None and self._is_input(twin) and _source(each, _passes) is not each
            and not is_dequantize(each)
            for each, twin in twins.items()
        )  # fmt: skip

    def _is_state(self, source: Node) -> bool:
        return source.op == "get_attr" and source.target in self._written

    # -- the op ------------------------------------------------------------------------------------

    def _computed(self) -> Any:
        given = {each: self._given(each) for each in self._op.all_input_nodes}
        return self._call(self._op, given)

    def _given(self, source: Node) -> Any:
        if self._is_quantized_constant(source):
            return self._read[source]
        own = self._read[source]
        twin = self._pair.counterparts.get(_source(source, _passes))
        is_weight = source.op == "get_attr" and not self._is_state(source)
        if twin is None or (is_weight and _is_floating(own) and own.dtype in _HALF):
            return own
        return _cast_like(self._as_read(twin), own)

    def _as_read(self, twin: Node) -> Any:
        """A value of the reference at the time of the reference op."""
        read = self._reference.reads[self._pair.reference][self._execution]
        # What a rewrite made the quantized op read, and the reference op does not.
        return read[twin] if twin in read else self._reference.values[twin][self._execution]

    def _exact_for_half(self) -> Any:
        """The reference op, its inputs rounded as the half precision op's are, its weights as they are."""
        ours = self._actual.values[self._op][self._execution]
        half = next(each for each in _tensors(ours) if each.dtype in _HALF)
        own = {
            self._pair.counterparts.get(_source(each, _passes)): self._read[each]
            for each in self._op.all_input_nodes
        }
        read = self._reference.reads[self._pair.reference][self._execution]
        given = {
            source: value
            if (source.op == "get_attr" and not self._is_state(source)) or self._is_input(source)
            else _cast_like(_cast_like(value, own.get(source, half)), value)
            for source, value in read.items()
        }
        return self._call(self._pair.reference, given)

    def _call(self, node: Node, given: dict[Node, Any]) -> Any:
        """An op on copies, with the dice that the reference op threw."""
        given = snapshot(given)
        torch.set_rng_state(self._reference.dice[self._pair.reference][self._execution])
        args, kwargs = map_arg((node.args, node.kwargs), given.__getitem__)
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def _is_half(self, reference: Any) -> bool:
        """Whether the op computes in half precision, and the reference op does not."""
        ours = _tensors(self._actual.values[self._op][self._execution])
        return any(
            a.dtype in _HALF and _is_floating(r) and r.dtype not in _HALF
            for r, a in zip(_tensors(reference), ours)
        )

    # -- quantizers --------------------------------------------------------------------------------

    def _only_moves(self, quantize: Node) -> bool:
        """Whether a quantizer of the output finds nothing to round, since all inputs come from its like."""
        if op_name(self._op) not in _MOVES:
            return False
        inputs = [
            each
            for each in self._op.all_input_nodes
            if any(map(_is_floating, _tensors(self._read[each])))
        ]
        return all(is_dequantize(each) and each.args[1:6] == quantize.args[1:6] for each in inputs)

    def _requantized(self, value: Any, quantize: Node, dequantize: Node) -> Any:
        quantized = self._call_quantizer(quantize, value)
        return self._call_quantizer(dequantize, quantized)

    def _call_quantizer(self, node: Node, value: Any) -> Any:
        given = {**self._actual.reads[node][self._execution], node.all_input_nodes[0]: value}
        args, kwargs = map_arg((node.args, node.kwargs), given.__getitem__)
        assert callable(node.target)
        return node.target(*args, **kwargs)


def _cast_like(value: Any, like: Any) -> Any:
    """``value`` in the dtype of ``like``, if both are floating point tensors."""
    return value.to(like.dtype) if _is_floating(value) and _is_floating(like) else value


def handles_of(model: GraphModule | torch.export.ExportedProgram) -> set[int]:
    return {
        handle
        for each in graph_modules(model)
        for node in each.graph.nodes
        if (handle := handle_of(node)) is not None
    }
