"""Checks a comparison on the first batch, before any of its numbers is shown.

The reference must compute what the model computes, and the comparison graph must compute what the two
graphs compute when they run by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from handlens import digests, switches
from handlens.capture.calls import replay_calls
from handlens.capture.export import Captured
from handlens.capture.handles import handle_of
from handlens.capture.nodes import module_of, op_of
from handlens.capture.places import Places
from handlens.comparison import Comparison, Statistics, merge, outputs_alone
from handlens.comparison.compared import Outputs
from handlens.comparison.memory import state_restored
from handlens.comparison.ops import has_effect, live
from handlens.comparison.random_state import RandomState
from handlens.comparison.recorder import pool
from handlens.loading.inputs import Inputs, cloned
from handlens.loading.preserving import as_given
from handlens.loading.subject import Subject
from handlens.recipes import Quantized
from handlens.report import Difference, Span, Verification
from handlens.words import decibels

# Two results are the same from this SQNR on, in dB: the order of additions leaves no less in float32. In
# half precision every op rounds to 74 or 56 dB.
_SAME_DB = {torch.float64: 80.0, torch.float32: 80.0, torch.float16: 50.0, torch.bfloat16: 30.0}


@dataclass(frozen=True)
class Verified:
    """A comparison that has run the first batch, its outputs, and the outcome of the checks."""

    comparison: Comparison
    outputs: Outputs
    verification: Verification
    by_model: str
    """The digest of what the model itself gave; empty if it failed."""


def verify(
    captured: Captured,
    subject: Subject,
    quantized: Quantized,
    inputs: Inputs,
    places: Places,
    on_merged: Callable[[Comparison], None] = lambda comparison: None,
) -> Verified:
    """Compare on the first batch, and check the result. Raises whatever the graphs raise.

    ``on_merged`` is called with the comparison before it runs.
    """
    start = RandomState()
    run = _Runs(start, inputs)
    comparison = merge(quantized.reference, quantized.actual)
    on_merged(comparison)
    outputs = run.comparison(comparison)
    after = RandomState()
    model = run.model(subject)
    by_model = "" if isinstance(model, str) else digests.of(model)
    verification = _against_model(
        model, outputs.reference, run, captured, quantized, subject, places
    )
    # Without effects, the comparison runs the reference's ops as they are, and nothing is left to check.
    has_effects = verification.verdict != "exact" and any(
        map(has_effect, quantized.reference.graph.nodes)
    )
    plain = _Plain(run, quantized, has_effects)
    how: Literal["merged", "plain", "outputs"] = "merged"
    if not plain.agrees_with(outputs):
        how, comparison = "plain", merge(quantized.reference, quantized.actual, shortcuts=False)
        outputs = run.comparison(comparison)
        if not plain.agrees_with(outputs):
            if plain.varies():
                how = "merged"
                comparison = merge(quantized.reference, quantized.actual)
            else:
                how, comparison = "outputs", outputs_alone(quantized.reference, quantized.actual)
            outputs = run.comparison(comparison)
    if verification.verdict == "differs":
        actual = _compared(model, plain.actual) if isinstance(model, list) else Statistics()
        verification = replace(verification, actual_sqnr_db=actual.sqnr_db)
    after.restore()
    if folder := switches.dump_folder():
        _dump(comparison, places.declaration, Path(folder))
    return Verified(comparison, outputs, replace(verification, comparison=how), by_model)


def _dump(comparison: Comparison, target: Span, folder: Path) -> None:
    """Write the code of a comparison graph into a folder, for people who debug Handlens."""
    if isinstance(comparison.module, GraphModule):
        folder.mkdir(parents=True, exist_ok=True)
        code = comparison.module.print_readable(print_output=False)
        (folder / f"{Path(target.file).stem}_line_{target.line}.py").write_text(code, "utf-8")


def run_model(subject: Subject, inputs: Inputs) -> list[Any] | str:
    """The leaves of the outputs of the model itself, or why it cannot be run."""
    args, kwargs = cloned(inputs)
    try:
        with as_given(subject.model), torch.no_grad():
            leaves: list[Any] = cloned(pytree.tree_leaves(subject.model(*args, **kwargs)))
            return leaves
    except Exception as error:
        return f"the model itself raised {type(error).__name__}"


class _Runs:
    """Runs on one batch. Each starts from the same random state and from the model's original state."""

    def __init__(self, start: RandomState, inputs: Inputs) -> None:
        self._start = start
        self._inputs = inputs

    def comparison(self, comparison: Comparison) -> Outputs:
        args, kwargs = self._begin()
        return comparison.run(args, kwargs)

    def graph(self, model: GraphModule) -> list[Any]:
        """The leaves of the outputs of a graph."""
        args, kwargs = self._begin()
        with state_restored(model), torch.no_grad():
            # An output may be state of the graph, which is restored after the block.
            leaves: list[Any] = cloned(pytree.tree_leaves(model(*args, **kwargs)))
            return leaves

    def recorded(self, model: GraphModule) -> dict[Node, Any]:
        """The result of each op of a graph, copied before another op changes it in place."""
        values: dict[Node, Any] = {}

        class Recording(Interpreter):
            def run_node(self, n: Node) -> Any:
                value = super().run_node(n)
                if handle_of(n) is not None:
                    values[n] = pytree.tree_map_only(Tensor, torch.clone, value)
                return value

        args, kwargs = self._begin()
        with state_restored(model), torch.no_grad():
            Recording(model).run(*pytree.tree_leaves((args, kwargs)), enable_io_processing=False)
        return values

    def model(self, subject: Subject) -> list[Any] | str:
        """The leaves of the outputs of the model itself, or why it cannot be run."""
        self._start.restore()
        return run_model(subject, self._inputs)

    def calls(self, subject: Subject, captured: Captured) -> dict[int, list[Any]]:
        """The results of the calls that the model makes, by their number in the captured program."""
        found: dict[int, list[Any]] = {}
        args, kwargs = self._begin()

        def note(number: int, value: Any) -> None:
            found.setdefault(number, []).append(pytree.tree_map_only(Tensor, torch.clone, value))

        with as_given(subject.model), torch.no_grad():
            replay_calls(captured.frames, note, lambda: subject.model(*args, **kwargs))
        return found

    def _begin(self) -> Inputs:
        self._start.restore()
        inputs: Inputs = cloned(self._inputs)
        return inputs


class _Plain:
    """The outputs of both graphs, each run by itself."""

    def __init__(self, run: _Runs, quantized: Quantized, reference_too: bool) -> None:
        self._run = run
        self._quantized = quantized
        self.actual = run.graph(quantized.actual)
        self._reference = run.graph(quantized.reference) if reference_too else None

    def agrees_with(self, outputs: Outputs) -> bool:
        """True if a comparison has computed the outputs of the graphs, to the bit."""
        if self._reference is not None and not _equal(self._reference, outputs.reference):
            return False
        return _equal(self.actual, outputs.actual)

    def varies(self) -> bool:
        """True if a graph gives other outputs when it is run again."""
        again = self._run.graph(self._quantized.actual)
        if self._reference is not None:
            reference = self._run.graph(self._quantized.reference)
            return not (_equal(self.actual, again) and _equal(self._reference, reference))
        return not _equal(self.actual, again)


def _against_model(
    model: list[Any] | str,
    reference: list[Any],
    run: _Runs,
    captured: Captured,
    quantized: Quantized,
    subject: Subject,
    places: Places,
) -> Verification:
    if isinstance(model, str):
        return Verification("not-checked", reason=model)
    model, reference = _tensors(model), _tensors(reference)
    if _equal(model, reference):
        return Verification("exact") if model else Verification("not-checked", reason="no tensors")
    if len(model) != len(reference):
        numbers = f"{len(model)} tensors, the exported program {len(reference)}"
        return Verification("not-checked", reason=f"the model itself gives {numbers}")
    statistics = _compared(model, reference)
    limit = _limit(model, subject)
    if _is_fine(statistics, limit):
        return Verification("ok", statistics.sqnr_db)
    again = run.model(subject)
    if isinstance(again, str) or not _is_fine(itself := _compared(model, _tensors(again)), limit):
        ratio = (
            ""
            if isinstance(again, str) or itself.sqnr_db is None
            else f" ({decibels(itself.sqnr_db)})"
        )
        reason = f"the model differs from itself when it is run twice{ratio}"
        return Verification("not-checked", reason=reason)
    difference = _Locator(run, captured, quantized, subject, places, limit).find()
    if difference is None:
        # Only integers differ: rounding decided between two values that were nearly equal.
        return Verification("ok", statistics.sqnr_db)
    return Verification("differs", statistics.sqnr_db, difference=difference)


class _Locator:
    """Finds the first op at which the reference differs from the model."""

    def __init__(
        self,
        run: _Runs,
        captured: Captured,
        quantized: Quantized,
        subject: Subject,
        places: Places,
        limit: float,
    ) -> None:
        self._run, self._captured, self._quantized = run, captured, quantized
        self._subject, self._places, self._limit = subject, places, limit

    def find(self) -> Difference | None:
        """The first op that differs; None if only integers differ, which rounding decides."""
        program = self._captured.program.module()
        assert isinstance(program, GraphModule)
        captured = self._run.recorded(program)
        model = self._run.model(self._subject)
        exported = self._run.graph(program)
        assert isinstance(model, list)
        if not _is_fine(_compared(_tensors(model), _tensors(exported)), self._limit):
            return self._in_capture(captured) or self._unless_whole(model, "export")
        return self._in_recipe(program, captured) or self._unless_whole(model, "recipe")

    def _unless_whole(self, model: list[Any], by: Any) -> Difference | None:
        floating = any(each.is_floating_point() for each in _tensors(model))
        return Difference(by) if floating else None

    def _in_capture(self, captured: dict[Node, Any]) -> Difference | None:
        calls = self._run.calls(self._subject, self._captured)
        by_call: dict[int, list[Node]] = {}
        for node in captured:
            if (number := self._captured.call(node)) is not None:
                by_call.setdefault(number, []).append(node)
        results: dict[Node, Any] = {}
        for number, made in by_call.items():
            times = len(calls.get(number, ()))
            if times and len(made) % times == 0:
                # A call may have become several ops. The last one has its result.
                step = len(made) // times
                results |= zip(made[step - 1 :: step], calls[number])
        pairs = {node: (results[node], captured[node]) for node in captured if node in results}
        return self._first("export", pairs)

    def _in_recipe(self, program: GraphModule, captured: dict[Node, Any]) -> Difference | None:
        reference = self._run.recorded(self._quantized.reference)
        values = {handle_of(node): value for node, value in reference.items()}
        read = live(program)
        pairs: dict[Node, tuple[Any, Any]] = {}
        for node in captured:
            handle = handle_of(node)
            if handle in values:
                pairs[node] = captured[_folded_into(node, values.keys(), read)], values[handle]
        return self._first("recipe", pairs)

    def _first(self, by: Any, pairs: dict[Node, tuple[Any, Any]]) -> Difference | None:
        for node, (model, graph) in pairs.items():
            statistics = _compared(*map(_tensors, map(pytree.tree_leaves, (model, graph))))
            if statistics.mismatch or _is_fine(statistics, self._limit):
                continue
            return Difference(
                by,
                op_of(node),
                module_of(node),
                statistics.sqnr_db,
                handle_of(node),
                self._places.shown(self._captured.spans(node)),
            )
        return None


def _folded_into(node: Node, there: Any, read: Set[Node]) -> Node:
    """The last of the ops that a recipe has folded into ``node``, whose result it now has."""
    while len(users := [each for each in node.users if each in read]) == 1:
        (user,) = users
        if handle_of(user) is None or handle_of(user) in there:
            break
        node = user
    return node


# -- equality ---------------------------------------------------------------------------------------


def _tensors(leaves: list[Any]) -> list[Tensor]:
    return [
        each.to_dense() if each.is_sparse else each for each in leaves if isinstance(each, Tensor)
    ]


def _equal(some: list[Any], others: list[Any]) -> bool:
    mine, theirs = _tensors(some), _tensors(others)
    return len(mine) == len(theirs) and all(map(_same, mine, theirs))


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    # The second term is for outputs with NaN, which is not equal to itself.
    return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())


def _compared(model: list[Any], graph: list[Any]) -> Statistics:
    statistics = Statistics()
    pool(statistics, _tensors(model), _tensors(graph))
    return statistics


def _is_fine(statistics: Statistics, limit: float) -> bool:
    if statistics.mismatch or statistics.non_finite:
        return False
    ratio = statistics.sqnr_db
    if ratio is None:
        return statistics.noise == 0
    return ratio >= limit


def _limit(model: list[Tensor], subject: Subject) -> float:
    """The SQNR, in dB, from which on two results differ by rounding only."""
    dtypes = {each.dtype for each in (*subject.model.parameters(), *model)}
    return min((_SAME_DB[each] for each in dtypes & _SAME_DB.keys()), default=80.0)
