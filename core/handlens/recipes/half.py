"""The ``bf16`` and ``fp16`` recipes: the model cast to half precision, weights and activations.

The cast model is exported anew rather than its graph rewritten: code may look at the dtype, and a mask
made of ``torch.finfo(x.dtype).min`` must come out right.
"""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from handlens import report
from handlens.capture.export import Captured, capture
from handlens.capture.handles import nodes_by_handle
from handlens.capture.nodes import (
    dtype_name,
    example,
    example_tensors,
    is_floating,
    placeholders,
)
from handlens.comparison.quantizers import cast
from handlens.loading.subject import Subject
from handlens.recipes.adjusting import adjustments, refusal
from handlens.recipes.entries import kept_handles
from handlens.recipes.half_handles import share_handles
from handlens.recipes.half_keep_float import add_cast
from handlens.recipes.half_switching import HalfSwitch
from handlens.recipes.leftovers import KEPT
from handlens.recipes.recipe import CastFailed, Quantized, float_module

# An op at the noise floor has 56 dB in bfloat16. In float16 it has 74 dB, but few miss the 50 dB of a deep
# float16 model, so the thresholds of bfloat16 hold for both.
_THRESHOLDS = report.Thresholds(25.0, 35.0, 45.0)


@dataclass(frozen=True)
class HalfRecipe:
    """Casts a model to a type of half precision."""

    name: str
    dtype: torch.dtype
    thresholds: report.Thresholds = _THRESHOLDS

    def quantize(self, captured: Captured, subject: Subject) -> Quantized:
        """Cast the model, and export it again. Raises CastFailed, and InvalidTarget for any ``adjust``."""
        kept = kept_handles(captured, subject.keep_float)
        for each in adjustments(captured, subject):
            raise refusal(each, self.name, ())
        reference = float_module(captured)
        half = self._capture(captured, subject)
        share_handles(captured, half)
        cast_model = float_module(half)
        _cast_inputs(cast_model)
        switch = HalfSwitch(reference, cast_model, kept)
        actual = switch.graph(frozenset())
        quantizer = cast("output", self.dtype)
        before = {h: _dtypes(node) for h, node in nodes_by_handle(reference).items()}
        after = {h: _dtypes(node) for h, node in nodes_by_handle(actual).items()}
        in_float = {
            handle: _why(dtypes, after.get(handle, set()), self.dtype, handle in kept)
            for handle, dtypes in before.items()
            if self.dtype in dtypes or self.dtype not in after.get(handle, ())
        }
        described = {handle: (quantizer,) for handle in after if handle not in in_float}
        return Quantized(
            reference,
            actual,
            (),
            described,
            in_float,
            quantized_by=(
                report.QuantizedBy(f"Module.to({self.dtype})", "torch", torch.__version__),
            ),
            switch=lambda: replace(switch, quantized=frozenset(described)),
        )

    def _capture(self, captured: Captured, subject: Subject) -> Captured:
        model = _cast(subject.model, self.dtype)
        args, kwargs = pytree.tree_map_only(
            Tensor,
            lambda each: each.to(self.dtype) if each.is_floating_point() else each,
            (subject.args, subject.kwargs),
        )
        try:
            return capture(model, args, kwargs, subject.dynamic_shapes, captured.strict)
        except Exception as error:
            raise CastFailed(error, dtype_name(self.dtype)) from error


def _cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a model as ``model.to(dtype)`` gives it, without a copy of its parameters in float."""
    cast = {
        id(each): nn.Parameter(each.detach().to(dtype), each.requires_grad)
        for each in model.parameters()
        if type(each) is nn.Parameter and each.dtype != dtype and each.is_floating_point()
    }
    return copy.deepcopy(model, cast).to(dtype)


RECIPES = (HalfRecipe("bf16", torch.bfloat16), HalfRecipe("fp16", torch.float16))


def _why(before: set[torch.dtype], after: set[torch.dtype], half: torch.dtype, kept: bool) -> str:
    """Why casting the model does not cast an op, in words that follow "stays in float"."""
    if kept:
        return KEPT
    name = dtype_name(half)
    if half in before:
        return f"it computes in {name} already"
    if not any(each.is_floating_point for each in before):
        return "it has no floating point output"
    if not after:
        return "the cast model has no such op"
    return f"the cast model computes it in {', '.join(map(dtype_name, after))}"


def _cast_inputs(model: GraphModule) -> None:
    """Add casts, so that a graph that expects inputs in half precision can be called with float inputs."""
    inputs = placeholders(model)
    for node in inputs:
        if is_floating(node):
            with model.graph.inserting_after(inputs[-1]):
                cast = add_cast(node, example(node))
            node.replace_all_uses_with(cast, partial(operator.is_not, cast))
    model.recompile()


def _dtypes(node: Node) -> set[torch.dtype]:
    return {each.dtype for each in example_tensors(node)}
