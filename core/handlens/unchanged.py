"""Finds out whether a run would measure what an earlier one has measured: most edits change no number.

What is measured is decided by the exported program and its tensors, the batches, the recipe, and torch's
settings. Where nothing else can have a part in it, these have a digest. A run exports the edited model, and
if an earlier one had the same digest, takes over what that has measured, at the places of the new source.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from handlens import digests, recipes
from handlens.capture.export import Captured
from handlens.capture.handles import handle_of, nodes_by_handle
from handlens.capture.nodes import graph_modules, op_name
from handlens.capture.places import Places
from handlens.comparison.ops import is_random
from handlens.comparison.random_state import RandomState
from handlens.loading.subject import Subject
from handlens.recipes import Recipe
from handlens.recipes.pt2e import Pt2eRecipe
from handlens.report import OpReport, Report, StaysInFloat, Unmatched
from handlens.request import AdviceRequest
from handlens.verification import run_model

_PLAIN = (str, bytes, int, float, complex, bool, type(None))
_TENSORS = (Tensor, nn.Parameter, nn.Buffer)


@dataclass(frozen=True)
class Earlier:
    """What an earlier run has measured."""

    by_model: str
    """The digest of what the model itself gave for the first evaluation batch."""
    report: Report


def registered_kernels() -> frozenset[str]:
    """The kernels that Python code has registered with torch so far."""
    # Torch has no public list of them.
    return frozenset(map(str, torch.library._impls))


def decided_by(
    captured: Captured,
    subject: Subject,
    recipe: Recipe,
    advise: AdviceRequest | None,
    kernels: frozenset[str],
) -> str | None:
    """The digest of all that decides what is measured, but for what the model itself computes.

    Returns None if something else may have a part in it: code of the user's that the program does not show
    (a metric, an op or a kernel, a recipe, or one that calls the model), batches that cannot be made
    twice, or random numbers. ``kernels`` are those registered before the user's code ran.
    """
    program = captured.program
    tensors = {**program.state_dict, **program.constants}
    batches = pytree.tree_leaves((subject.calibration, subject.evaluation))
    if not (
        subject.metric is None
        and _is_built_in(recipe)
        and registered_kernels() == kernels
        and _has_plain_batches(subject)
        and all(type(each) in _TENSORS for each in tensors.values())
        # Bodies of control flow have modules of their own.
        and len(list(graph_modules(program))) == 1
        and all(map(_is_torch_s_own, program.graph.nodes))
    ):
        return None
    texts = (
        recipe.name,
        repr((subject.keep_float, subject.adjust, advise)),
        repr((program.graph_signature, program.call_spec, program.range_constraints)),
        *map(_text, program.graph.nodes),
        *(f"{name} {type(each).__qualname__}" for name, each in subject.model.named_modules()),
        repr(sorted({str(each.dtype) for each in subject.model.parameters()})),
        repr(pytree.tree_structure((subject.calibration, subject.evaluation))),
        *map(repr, _settings()),
        *_layouts([*tensors.values(), *batches]),
    )
    return digests.of((*texts, *tensors, *tensors.values(), *batches))


def _has_plain_batches(subject: Subject) -> bool:
    """True if the batches are lists or tuples of tensors and literals, which are the same each time."""
    batches = subject.calibration, subject.evaluation
    return all(type(each) in (list, tuple) for each in batches) and all(
        type(each) in (*_TENSORS, *_PLAIN) for each in pytree.tree_leaves(batches)
    )


def beside_model(subject: Subject) -> dict[str, Any] | None:
    """The fields of a subject beside its model and example inputs, for a process that has the same model.

    Returns None if that process cannot be given them.
    """
    metric = subject.metric
    # Of a function that remembers values, only the code is known to be the same.
    is_code = isinstance(metric, FunctionType) and not (
        metric.__closure__ or metric.__defaults__ or metric.__kwdefaults__
    )
    if (
        not _has_plain_batches(subject)
        or callable(subject.recipe)
        or not (metric is None or is_code)
    ):
        return None
    names = ("calibration", "evaluation", "recipe", "keep_float", "adjust")
    return {name: getattr(subject, name) for name in names}


def model_digest(subject: Subject, modules: Iterable[ModuleType]) -> str | None:
    """The digest of what decides an export beside the source: the model with all it has, and its inputs.

    ``modules`` are those of the user's, whose plain values count, too. Returns None if the model has
    something that cannot be pickled, or decides itself what of it is.
    """
    found = hashlib.sha256()
    plain = [
        (module.__name__, name, value)
        for module in modules
        for name, value in vars(module).items()
        if type(value) in _PLAIN and not name.startswith("__")
    ]
    if any(map(_pickles_itself, subject.model.modules())):
        return None
    try:
        _Digesting(_Hashed(found)).dump(
            (subject.model, subject.args, subject.kwargs, subject.dynamic_shapes, plain)
        )
    except Exception:
        # Whatever an object of the user's raises.
        return None
    for each in _settings():
        found.update(repr(each).encode())
    return found.hexdigest()


class _Hashed(io.RawIOBase):
    """A file of which the hash alone is kept."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def write(self, data: Any) -> int:
        self._found.update(data)
        return memoryview(data).nbytes


class _Digesting(pickle.Pickler):
    """Pickles everything but tensors, for which their digests stand."""

    def __init__(self, file: io.RawIOBase) -> None:
        super().__init__(file)
        self._memory: dict[int, int] = {}

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return None
        if type(value) not in _TENSORS or value.grad_fn is not None:
            raise pickle.PicklingError(f"a tensor of type {type(value).__name__}")
        return _layout(value, self._memory), digests.of([value])


def _pickles_itself(module: nn.Module) -> bool:
    """True if a module decides itself what of it is pickled, or has what no module pickles."""
    classes = (each for each in type(module).__mro__ if each not in (object, nn.Module))
    own = {name for each in classes for name in vars(each)}
    is_compiled = getattr(module, "_compiled_call_impl", None) is not None
    return is_compiled or not own.isdisjoint(("__getstate__", "__reduce__", "__reduce_ex__"))


def by_model(subject: Subject) -> str:
    """The digest of what the model itself gives for the first evaluation batch; empty if it fails."""
    now = RandomState()
    batch = next(subject.evaluation_batches())
    outputs = run_model(subject, batch.inputs)
    now.restore()
    return "" if isinstance(outputs, str) else digests.of(outputs)


def can_be_taken_over(report: Report, captured: Captured, places: Places) -> bool:
    """True if a run with the same digest may take over a report, but for the places of the ops."""
    verified = report.verified
    return (
        report.status == "ok"
        and report.non_finite is None
        and verified is not None
        and verified.verdict in ("exact", "ok")
        and placed(report, captured, places) == report
    )


def placed(report: Report, captured: Captured, places: Places) -> Report:
    """A report of the same ops at their places in another source."""
    nodes = nodes_by_handle(captured.program)

    def op(found: OpReport) -> OpReport:
        spans, shown = places.of(captured.spans(nodes[found.handle]))
        return replace(found, spans=spans, shown=shown)

    def entry(found: Any) -> Any:
        return replace(found, span=places.shown(captured.spans(nodes[found.handle])))

    coverage = report.coverage
    if coverage is not None:
        unmatched: tuple[Unmatched, ...] = tuple(map(entry, coverage.unmatched))
        in_float: tuple[StaysInFloat, ...] = tuple(map(entry, coverage.in_float))
        coverage = replace(coverage, unmatched=unmatched, in_float=in_float)
    return replace(report, ops=tuple(map(op, report.ops)), coverage=coverage)


def _is_built_in(recipe: Recipe) -> bool:
    """True for recipes that start from the exported program alone, and whose code is not the user's."""
    return isinstance(recipe, Pt2eRecipe) and recipes.RECIPES.keys() >= set(recipe.name.split("+"))


def _is_torch_s_own(node: Node) -> bool:
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    is_aten = isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten"
    return (is_aten or op_name(node) == "getitem") and not is_random(node)


def _text(node: Node) -> str:
    """All that a recipe or a report takes from a node."""
    meta = node.meta
    modules = [(path, str(kind)) for path, kind in (meta.get("nn_module_stack") or {}).values()]
    functions = [
        (name, getattr(function, "__qualname__", str(function)))
        for name, function in meta.get("source_fn_stack") or ()
    ]
    shape = _layouts(pytree.tree_leaves(meta.get("val")))
    return (
        f"{node.name} {node.op} {node.target} {node.args} {node.kwargs} {handle_of(node)} "
        f"{modules} {functions} {meta.get('torch_fn')} {[*shape]}"
    )


def _layouts(values: list[Any]) -> Iterator[str]:
    memory: dict[int, int] = {}
    for each in values:
        yield _layout(each, memory) if isinstance(each, Tensor) else repr(each)


def _layout(value: Tensor, memory: dict[int, int]) -> str:
    """The type and the layout of a tensor, and where it is in the memory that it shares with others.

    ``memory`` numbers the memory of all tensors so far by its address.
    """
    is_strided = value.layout == torch.strided
    layout = value.stride() if is_strided else value.layout
    found = f"{type(value).__name__} {value.dtype} {tuple(value.shape)} {layout} {value.device}"
    if type(value) in _TENSORS and is_strided:
        # Fake tensors have no memory.
        number = memory.setdefault(value.untyped_storage().data_ptr(), len(memory))
        found += f" {number} {value.storage_offset()} {value.requires_grad}"
    return found


def _settings() -> Iterator[Any]:
    """Torch's settings that have a part in what ops compute."""
    yield torch.get_default_dtype()
    yield torch.get_num_threads()
    yield torch.get_float32_matmul_precision()
    yield torch.are_deterministic_algorithms_enabled()
    yield torch.is_grad_enabled()
    yield torch.is_autocast_enabled("cpu")
    yield torch.backends.quantized.engine
    yield torch.backends.mkldnn.enabled
    yield torch._C._get_cudnn_allow_tf32(), torch._C._get_cublas_allow_tf32()
