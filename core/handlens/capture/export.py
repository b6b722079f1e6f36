"""Exports a model, and finds for every operation the source expressions that called it.

The frames of each call are noted while the model is traced (see ``calls``). A node without such a note has
the lines of its stack trace.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx.traceback import preserve_node_meta

from handlens.capture.batch_norms import quick_batch_norms
from handlens.capture.calls import (
    CallRecorder,
    NumberedCalls,
    annotated_by_dynamo,
    call_number,
)
from handlens.capture.handles import CUSTOM_KEY
from handlens.capture.nodes import graph_modules
from handlens.capture.paddings import write_paddings_as_numbers
from handlens.capture.spans import Frame, span_of_frame, spans_of_stack_trace
from handlens.report import Span


@dataclass(frozen=True)
class Captured:
    """An exported program, and the source frames of each of its annotated calls."""

    program: torch.export.ExportedProgram
    strict: bool
    frames: tuple[tuple[Frame, ...], ...]
    """For each call, by number: its frames, innermost first."""

    def spans(self, node: torch.fx.Node) -> tuple[Span, ...]:
        """The source expressions that led to ``node``, innermost first; empty if it has no source."""
        number = call_number(node)
        if number is None:
            return spans_of_stack_trace(node.meta.get("stack_trace") or "")
        return tuple(itertools.starmap(span_of_frame, self.frames[number]))

    def call(self, node: torch.fx.Node) -> int | None:
        """The number of the call that made ``node``; None if another run does not make that call."""
        return None if self.strict else call_number(node)


def capture(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    strict: bool = False,
) -> Captured:
    """Export ``model`` as ``torch.export.export`` does, and note the source of every operation.

    The padding of convolutions is rewritten to numbers. Raises whatever the export raises.
    """

    def export() -> torch.export.ExportedProgram:
        with quick_batch_norms():
            program = torch.export.export(
                model, args, dict(kwargs or {}), dynamic_shapes=dynamic_shapes, strict=strict
            )
        write_paddings_as_numbers(program)
        return program

    calls, stop = NumberedCalls(), sys._getframe()
    with annotated_by_dynamo(calls, stop):
        if strict:
            program = export()
        else:
            with preserve_node_meta(), CallRecorder(calls, stop):
                program = export()
    _annotate_assertions(program)
    return Captured(program, strict, tuple(calls.frames))


def _annotate_assertions(program: torch.export.ExportedProgram) -> None:
    """Annotate the assertion that export adds before a conversion like the conversion.

    Export annotates it like the op that computed the tensor.
    """
    aten = torch.ops.aten
    for graph_module in graph_modules(program):
        for node in graph_module.graph.nodes:
            following = node.next
            if (
                node.target is aten._assert_tensor_metadata.default
                and getattr(following.target, "overloadpacket", None) is aten.to
                and following.args[0] is node.args[0]
                # An assertion in the user's source has an annotation of its own.
                and call_number(node) == call_number(node.args[0])
            ):
                node.meta[CUSTOM_KEY] = following.meta.get(CUSTOM_KEY, {})
