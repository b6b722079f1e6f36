"""What a target returns: the model, and the batches to run it on."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any, cast, get_args

import torch

from handlens.advice_report import ChangeKind
from handlens.loading.inputs import Inputs, Unreadable, arranged, arranged_with_more, cloned
from handlens.misspelling import near, question
from handlens.report import Misspelled
from handlens.targets import Target

_KEYS = (
    "model",
    "example_inputs",
    "example_kwargs",
    "dynamic_shapes",
    "calibration",
    "evaluation",
    "recipe",
    "keep_float",
    "metric",
    "adjust",
)


class InvalidTarget(Exception):
    """A target that returns something wrong; the message says what it returned, and what to do."""

    def __init__(self, message: str, misspelled: Misspelled | None = None) -> None:
        super().__init__(message)
        self.misspelled = misspelled


class BatchFailed(Exception):
    """The user's code raised ``error`` while it made a ``batch``, such as "calibration batch 2"."""

    def __init__(self, batch: str, error: BaseException) -> None:
        super().__init__(batch, error)
        self.batch = batch
        self.error = error


@dataclass(frozen=True)
class Batch:
    """A batch of a target."""

    number: int
    """From 1 on."""
    inputs: Inputs
    """Copied, because a model may change its inputs."""
    given: Any
    """The batch as the target gave it, with the labels that it may have beside the inputs."""


@dataclass(frozen=True)
class Subject:
    """What a target returns: the model, in evaluation mode, and its inputs."""

    model: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    dynamic_shapes: Any = None
    calibration: Iterable[Any] = ()
    evaluation: Iterable[Any] = ()
    recipe: str | Callable[[], Any] | None = None
    keep_float: tuple[str | int, ...] = ()
    """Module paths and debug handles of the ops to keep in float. A path names all ops below it."""
    metric: Callable[[Any, Any], Any] | None = None
    """Gives the quality of the outputs for a batch, higher if better. With it, a batch may have more than
    the inputs, such as labels."""
    adjust: tuple[tuple[str | int, ChangeKind], ...] = ()
    """Entries like those of ``keep_float``, each with a change to how its ops are quantized."""

    def calibration_inputs(self) -> Iterator[Inputs]:
        """The inputs of the batches.

        Raises BatchFailed, and InvalidTarget for a wrong batch.
        """
        return (batch.inputs for batch in self._batches("calibration", self.calibration))

    def evaluation_batches(self) -> Iterator[Batch]:
        """The batches.

        Raises BatchFailed, and InvalidTarget for a wrong batch.
        """
        return self._batches("evaluation", self.evaluation)

    def evaluation_inputs(self) -> Iterator[Inputs]:
        """The inputs of the batches.

        Raises BatchFailed, and InvalidTarget for a wrong batch.
        """
        return (batch.inputs for batch in self.evaluation_batches())

    def _batches(self, key: str, given: Iterable[Any]) -> Iterator[Batch]:
        batches: Iterator[Any] | None = None
        arrange = partial(
            arranged if self.metric is None else arranged_with_more,
            model=self.model,
            like=(self.args, self.kwargs),
        )
        for number in itertools.count(1):
            try:
                batches = iter(given) if batches is None else batches
                batch = next(batches, _END)
            except BaseException as error:
                raise BatchFailed(f"{key} batch {number}", error) from error
            if batch is _END:
                return
            yield Batch(number, cloned(_inputs(batch, key, arrange)), batch)


_END = object()


def with_options(subject: Subject, name: str, options: Mapping[str, Any]) -> Subject:
    """The subject of a target that asks for other ``options``. Raises InvalidTarget for wrong ones."""
    read = {"recipe": lambda given: given}
    read |= {"keep_float": partial(_keep_float, name), "adjust": partial(_adjust, name)}
    return replace(subject, **{key: read[key](given) for key, given in options.items()})


def build(target: Target, module: ModuleType) -> Subject:
    """Call the target in its module. Raises InvalidTarget, and whatever the user's code raises."""
    if target.kind == "function":
        given = getattr(module, target.name)()
    elif target.kind == "class":
        model = getattr(module, target.name)()
        given = {"model": model, "example_inputs": model.example_inputs()}
    else:
        given = {
            key: value if key == "recipe" else _referenced(value)
            for key, value in target.references.items()
        }
        given["keep_float"] = target.keep_float
        given["adjust"] = target.adjust
        for key in target.references.keys() - {"recipe", "metric"}:
            if callable(given[key]) and not isinstance(given[key], torch.nn.Module):
                given[key] = given[key]()
    return _subject(target.name, given)


def _referenced(reference: str) -> Any:
    module, _, names = reference.partition(":")
    value: Any = importlib.import_module(module)
    for name in names.split("."):
        if not hasattr(value, name):
            raise InvalidTarget(f"{reference!r}: {module} has no {names}")
        value = getattr(value, name)
    return value


def _subject(name: str, given: Any) -> Subject:
    expected = "return (model, example_inputs), or a mapping with those keys"
    if isinstance(given, Mapping):
        unknown = sorted(map(str, given.keys() - set(_KEYS)))
        if unknown:
            found = near(unknown[0], _KEYS)
            advice = question(found) if found else f"There are {', '.join(_KEYS)}."
            raise InvalidTarget(f"{name} has the unknown key {unknown[0]!r}. {advice}", found)
        values = dict(given)
    elif isinstance(given, tuple) and len(given) == 2:
        values = {"model": given[0], "example_inputs": given[1]}
    else:
        raise InvalidTarget(f"{name} returned {kind(given)}: {expected}")
    if not isinstance(values.get("model"), torch.nn.Module):
        raise InvalidTarget(
            f"{name} gives {kind(values.get('model'))} as its model, not a torch.nn.Module: {expected}"
        )
    if "example_inputs" not in values:
        raise InvalidTarget(f"{name} gives no example_inputs: {expected}")
    model = values["model"].eval()
    arrange = partial(arranged, model=model, kwargs=values.get("example_kwargs"))
    args, kwargs = _inputs(values["example_inputs"], "example_inputs", arrange)
    example = [(args, kwargs) if kwargs else args]
    return Subject(
        model,
        args,
        kwargs,
        values.get("dynamic_shapes"),
        _batches(name, "calibration", values.get("calibration"), example),
        _batches(name, "evaluation", values.get("evaluation"), example),
        values.get("recipe"),
        _keep_float(name, values.get("keep_float")),
        _metric(name, values.get("metric")),
        _adjust(name, values.get("adjust")),
    )


def _keep_float(name: str, given: Any) -> tuple[str | int, ...]:
    entries = () if given is None else given
    if not isinstance(entries, (list, tuple, set, frozenset)):
        raise InvalidTarget(
            f"{name} gives {kind(given)} as keep_float: make it a list of module paths"
        )
    for each in entries:
        if not isinstance(each, (str, int)) or isinstance(each, bool):
            raise InvalidTarget(
                f"{name} has {kind(each)} in keep_float: give module paths and debug handles"
            )
    return tuple(entries)


def _metric(name: str, given: Any) -> Callable[[Any, Any], Any] | None:
    if given is not None and not callable(given):
        raise InvalidTarget(
            f"{name} gives {kind(given)} as metric: make it a function metric(outputs, batch)"
        )
    return given  # type: ignore[no-any-return]


_KINDS = tuple(each for each in get_args(ChangeKind) if each != "keep-float")


def _adjust(name: str, given: Any) -> tuple[tuple[str | int, ChangeKind], ...]:
    if not isinstance(given, Mapping):
        if given is None:
            return ()
        raise InvalidTarget(
            f"{name} gives {kind(given)} as adjust: make it a mapping of module paths to kinds of change"
        )
    pairs: list[tuple[str | int, ChangeKind]] = []
    for entry, kinds in given.items():
        if not isinstance(entry, (str, int)) or isinstance(entry, bool):
            raise InvalidTarget(
                f"{name} has {kind(entry)} in adjust: give module paths and debug handles"
            )
        if not isinstance(kinds, (str, list, tuple)):
            raise InvalidTarget(
                f"{name} has {kind(kinds)} for {entry!r} in adjust: give a kind of change, or a list"
            )
        for each in (kinds,) if isinstance(kinds, str) else kinds:
            if each not in _KINDS:
                raise _no_kind(name, entry, each)
            pairs.append((entry, cast(ChangeKind, each)))
    return tuple(pairs)


def _no_kind(name: str, entry: str | int, given: Any) -> InvalidTarget:
    found = None
    if given == "keep-float":
        advice = "Name it in keep_float."
    elif found := near(str(given), _KINDS):
        advice = question(found)
    else:
        advice = f"There are {', '.join(map(repr, _KINDS))}."
    message = f"{name} has {given!r} for {entry!r} in adjust, which is no kind of change. {advice}"
    return InvalidTarget(message, found)


def _batches(name: str, key: str, given: Any, example: list[Any]) -> Iterable[Any]:
    if given is None:
        return example
    if isinstance(given, torch.Tensor) or not isinstance(given, Iterable):
        raise InvalidTarget(
            f"{name} gives {kind(given)} as {key}: make it an iterable of input tuples"
        )
    return given


def _inputs(batch: Any, key: str, arrange: Callable[[Any], Inputs]) -> Inputs:
    if not isinstance(batch, (torch.Tensor, tuple, list, Mapping)):
        raise InvalidTarget(f"{key} has {kind(batch)} where a tuple of inputs is expected")
    try:
        return arrange(batch)
    except Unreadable as error:
        raise InvalidTarget(f"{key} has {kind(batch)}: {error}") from error


def kind(value: Any) -> str:
    """What a value is, for messages: ``a tuple of 2``, ``an int``."""
    if value is None:
        return "None"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
