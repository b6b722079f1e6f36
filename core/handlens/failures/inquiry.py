"""Explains why a model that was exported could not be quantized or compared: in which op, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from torch.fx import Node
from torch.nn import Parameter

from handlens.capture.export import Captured
from handlens.capture.handles import handle_of, nodes_by_handle
from handlens.capture.nodes import module_of, op_of, value_of
from handlens.capture.places import Places
from handlens.diagnosis.rules.non_finite_model import NonFiniteModel
from handlens.diagnosis.rules.non_finite_model import describe as describe_non_finite
from handlens.diagnosis.rules.run_failed import RunFailed
from handlens.failures.alternatives import working_recipes
from handlens.failures.exceptions import describe, frames, is_out_of_memory
from handlens.failures.failing_ops import explain, failing_ops, mixed_types
from handlens.failures.float_model import Source, Trace, trace_non_finite
from handlens.loading.inputs import Inputs
from handlens.loading.subject import Subject
from handlens.recipes import CalibrationFailed, CastFailed, Quantized, Recipe
from handlens.recipes.recipe import float_module
from handlens.report import Cause, Failure, NonFinite, Span, op_name

_NOT_FINITE = re.compile(r"\b(nan|inf|-inf|finite|infinity)\b", re.IGNORECASE)

MakeFailure = Callable[[str, str, BaseException, "Span | None"], Failure]
"""Makes a failure from a rule, what happened, the exception, and the place of the op."""


class Inquiry:
    """Explains the failures of one exported model."""

    def __init__(
        self, captured: Captured, subject: Subject, places: Places, failure: MakeFailure
    ) -> None:
        self._captured, self._subject, self._places = captured, subject, places
        self._failure = failure
        self._nodes = nodes_by_handle(captured.program)

    def calibration(self, failed: CalibrationFailed, recipe: Recipe) -> Failure:
        """Explain why the graph with observers raises on a calibration batch."""
        error, batch = failed.error, f"calibration batch {failed.batch}"
        handles = failing_ops(error)
        found = self._not_finite(error, "calibration", handles, batch, failed.inputs)
        if found is not None:
            return found
        name = f"{self._named(handles)} failed in calibration" if handles else "Calibration failed"
        raised = self._failure(
            RunFailed.code, f"{name}, on batch {failed.batch}", error, self._at(handles)
        )
        # If the float model raises, too, no other recipe works on that batch.
        return self._with_others(raised, recipe, error) if self._runs(failed.inputs) else raised

    def quantizing(self, error: BaseException, recipe: Recipe) -> Failure:
        """Explain why a recipe raises before or after calibration."""
        if isinstance(error, CastFailed):
            what = f"Exporting {type(self._subject.model).__name__} in {error.dtype} failed"
            raised = self._failure(RunFailed.code, what, error.error, None)
            return replace(raised, cause=mixed_types(error.error, error.dtype))
        handles = failing_ops(error)
        ops = f"{self._named(handles)} " if handles else ""
        inputs = (self._subject.args, self._subject.kwargs)
        found = self._not_finite(error, "quantizing", handles, "the example inputs", inputs)
        if found is not None:
            return found
        what = f"Quantizing {ops}with recipe {recipe.name} failed"
        raised = self._failure(RunFailed.code, what, error, self._at(handles))
        return self._with_others(raised, recipe, error)

    def running(
        self, error: BaseException, quantized: Quantized, batch: int, inputs: Inputs
    ) -> Failure:
        """Explain why the comparison of the two graphs raises on an evaluation batch."""
        where = f"evaluation batch {batch}"
        handles = failing_ops(error)
        if not handles:
            return self._failure(RunFailed.code, f"Running {where} failed", error, None)
        name = self._named(handles)
        if not isinstance(error, Exception) or is_out_of_memory(error):
            return self._failure(
                RunFailed.code, f"{name} failed on {where}", error, self._at(handles)
            )
        why = explain(error, handles[0], quantized, inputs)
        model = {"actual": " of the quantized model", "reference": " of the float model"}
        what = f"{name}{model.get(why.model, '')} failed on {where}"
        return replace(
            self._failure(RunFailed.code, what, error, self._at(handles)), cause=why.cause
        )

    def non_finite(self, inputs: Inputs, batch: str) -> NonFinite | None:
        """Find the op where the float model begins to give NaN or Inf on a batch; None if none matters."""
        trace = trace_non_finite(float_module(self._captured), inputs)
        return next((self._found(each, trace, batch) for each in trace.mattering), None)

    # -- parts -------------------------------------------------------------------------------------

    def _not_finite(
        self,
        error: BaseException,
        stage: str,
        handles: Sequence[int],
        batch: str,
        inputs: Inputs,
    ) -> Failure | None:
        """Explain a failure that comes from NaN or Inf in the float model; None for any other failure."""
        if not _NOT_FINITE.search(describe(error)):
            return None
        try:
            trace = trace_non_finite(float_module(self._captured), inputs)
        except Exception:
            return None
        sources = [each for handle in handles for each in trace.of(handle)]
        if not handles:
            sources = trace.mattering
        if not sources:
            return None
        found = self._found(sources[0], trace, batch)
        message, cause, related = describe_non_finite(found)
        where = f" at {self._named(handles)}" if handles else ""
        what = f"{message}, and {stage} fails{where}"
        raised = self._failure(NonFiniteModel.code, what, error, found.span)
        return replace(raised, cause=cause, related=related)

    def _found(self, source: Source, trace: Trace, batch: str) -> NonFinite:
        infinities = sorted(source.of, key=lambda each: each.order)
        made = next((each for each in infinities if not each.is_meant), None)
        # It begins at infinities that were computed, not at the softmax that makes NaN of them.
        begins = made or source
        op = begins.node if begins.is_op else trace.readers.get(begins)
        is_input = begins.node.op == "placeholder"
        found = NonFinite(begins.value, batch, begins.count, begins.values)
        if not begins.is_op:
            found = replace(found, held_by=_held_by(begins.node))
        if op is not None and not is_input:
            found = replace(
                found,
                op=op_of(op),
                module=module_of(op),
                handle=handle_of(op),
                span=self._shown(op),
            )
        if made is not None:
            return replace(found, nan=_name(source.node), nan_span=self._shown(source.node))
        if infinities:
            first = infinities[0].node
            name = _name(first) if infinities[0].is_op else _held_by(first)
            return replace(found, infinity=name, infinity_span=self._shown(first))
        return found

    def _runs(self, inputs: Inputs) -> bool:
        try:
            trace_non_finite(float_module(self._captured), inputs)
        except Exception:
            return False
        return True

    def _with_others(self, raised: Failure, recipe: Recipe, error: BaseException) -> Failure:
        """Add to a failure in a library where it was raised, and which recipes do not fail."""
        *_, innermost = frames(error)
        is_own = self._places.in_workspace(innermost.tb_frame.f_code.co_filename)
        if is_own or is_out_of_memory(error) or not isinstance(error, Exception):
            return raised
        module = innermost.tb_frame.f_globals.get("__name__", "?")
        why, help = f"it was raised in {module}, line {innermost.tb_lineno}", ""
        names = working_recipes(self._captured, self._subject, recipe.name)
        if names:
            works = "works" if len(names) == 1 else "work"
            help = f"{_listed(names)} {works} on the same export"
        return replace(raised, cause=Cause(why, help))

    def _named(self, handles: Iterable[int]) -> str:
        return _listed(list(dict.fromkeys(_name(self._nodes[each]) for each in handles)))

    def _at(self, handles: Sequence[int]) -> Span | None:
        return self._shown(self._nodes[handles[0]]) if handles else None

    def _shown(self, node: Node) -> Span | None:
        return self._places.shown(self._captured.spans(node))


def _name(node: Node) -> str:
    return op_name(op_of(node))


def _held_by(node: Node) -> str:
    if node.op == "placeholder":
        return f"input {node.target}"
    kind = "parameter" if isinstance(value_of(node), Parameter) else "buffer"
    return f"{kind} {node.target}"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
