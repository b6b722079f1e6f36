"""Finds out whether a target makes the same model for an edited text, so that an export of it still holds.

The process that has exported a model, and one that has executed the edited text, compare digests of the
model with all it has. What the target gives beside the model is then handed over.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from torch import Tensor, nn

from handlens import digests
from handlens.capture.export import Captured
from handlens.capture.nodes import graph_modules
from handlens.comparison.ops import is_random
from handlens.loading.subject import Subject
from handlens.patches import is_patched

# What the interpreter itself keeps in modules and classes.
_OF_IMPORT = ("__builtins__", "__cached__", "__doc__", "__loader__", "__spec__", "__annotations__")
_OF_CLASS = (
    *("__dict__", "__weakref__", "__doc__", "__annotations__", "__firstlineno__"),
    *("__static_attributes__", "_abc_impl"),
)


def model_digest(subject: Subject, modules: Iterable[ModuleType], target: str) -> str | None:
    """The digest of what decides an export: the model with all it has, its inputs, the state of modules.

    ``modules`` are those of the user's. What ``target``, the function that was called, does is left out.
    Returns None if something has no digest.
    """
    if is_patched() or any(map(_pickles_itself, subject.model.modules())):
        return None
    found = hashlib.sha256()
    state = [(each.__name__, *_state(each, target)) for each in modules]
    try:
        _Digesting(_Hashed(found)).dump(
            (subject.model, subject.args, subject.kwargs, subject.dynamic_shapes, state)
        )
    except Exception:
        # Whatever an object of the user's raises.
        return None
    for each in digests.settings():
        found.update(repr(each).encode())
    return found.hexdigest()


def _state(module: ModuleType, target: str) -> Iterator[tuple[str, Any]]:
    """What a module and its classes have, by name: code may have put other things there."""
    for name, value in vars(module).items():
        if name in _OF_IMPORT or name == target:
            continue
        yield name, value.__name__ if isinstance(value, ModuleType) else value
        if isinstance(value, type) and value.__module__ == module.__name__:
            for attribute, has in vars(value).items():
                if attribute not in _OF_CLASS:
                    yield f"{name}.{attribute}", has


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
        not digests.are_plain((subject.calibration, subject.evaluation))
        or callable(subject.recipe)
        or not (metric is None or is_code)
    ):
        return None
    names = ("calibration", "evaluation", "recipe", "keep_float", "adjust")
    return {name: getattr(subject, name) for name in names}


def is_random_program(captured: Captured) -> bool:
    """True if an op of an exported model draws random numbers: other ones in another process."""
    parts = graph_modules(captured.program)
    return any(is_random(node) for part in parts for node in part.graph.nodes)


class _Hashed(io.RawIOBase):
    """A file of which the hash alone is kept."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def write(self, data: Any) -> int:
        self._found.update(data)
        return memoryview(data).nbytes


class _Digesting(pickle.Pickler):
    """Pickles all values; digests stand for tensors, and for functions what they do with which values."""

    def __init__(self, file: io.RawIOBase) -> None:
        super().__init__(file)
        self._memory: dict[int, int] = {}

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return None
        if type(value) not in digests.TENSORS or value.grad_fn is not None:
            raise pickle.PicklingError(f"a tensor of type {type(value).__name__}")
        return digests.layout(value, self._memory), digests.of([value])

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            cells = tuple(each.cell_contents for each in value.__closure__ or ())
            given = value.__defaults__, value.__kwdefaults__
            return str, (value.__module__, value.__qualname__, _code(value.__code__), cells, given)
        if isinstance(value, (staticmethod, classmethod)):
            return str, (type(value).__name__, value.__func__)
        if isinstance(value, property):
            return str, ("property", value.fget, value.fset, value.fdel)
        return NotImplemented


def _code(code: CodeType) -> tuple[Any, ...]:
    """What a function does, wherever its lines are."""
    constants = tuple(
        _code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts
    )
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants


def _pickles_itself(module: nn.Module) -> bool:
    """True if a module decides itself what of it is pickled, or has what no module pickles."""
    classes = (each for each in type(module).__mro__ if each not in (object, nn.Module))
    own = {name for each in classes for name in vars(each)}
    is_compiled = getattr(module, "_compiled_call_impl", None) is not None
    return is_compiled or not own.isdisjoint(("__getstate__", "__reduce__", "__reduce_ex__"))
