"""Control-flow ops that run for both models in step, so that the ops in their bodies can be compared.

A merged body computes both models: it takes the inputs of the reference, then those of the quantized model,
and returns a pair of outputs. Where the models diverge (another branch, one iteration more), each runs its
own body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from handlens.comparison.random_state import RandomStates
from handlens.comparison.recorder import Recorder

_ops = torch.ops.higher_order


@dataclass(frozen=True)
class Body:
    """A body of a control-flow op: merged, and that of each model."""

    both: nn.Module
    reference: nn.Module
    actual: nn.Module
    random_states: RandomStates

    def alone(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The body of each model, for models that have diverged."""
        for each in self.both.modules():
            if isinstance(each, Recorder):
                each.diverge()

        def reference(*inputs: Any) -> Any:
            self.random_states("reference")
            return self.reference(*inputs)

        def actual(*inputs: Any) -> Any:
            self.random_states("actual")
            return self.actual(*inputs)

        return reference, actual


class InStep(nn.Module):
    """A control-flow op for both models. It is called with the arguments of both, without the bodies."""

    def __init__(self, bodies: Sequence[Body]) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(each.both for each in bodies)
        self._bodies = tuple(bodies)


class _Cond(InStep):
    def forward(self, reference: Sequence[Any], actual: Sequence[Any]) -> tuple[Any, Any]:
        (r_decision, r_inputs), (a_decision, a_inputs) = reference, actual
        if bool(r_decision) == bool(a_decision):
            result: tuple[Any, Any] = self._branch(r_decision).both(*r_inputs, *a_inputs)
            return result
        r_body, _ = self._branch(r_decision).alone()
        _, a_body = self._branch(a_decision).alone()
        return r_body(*r_inputs), a_body(*a_inputs)

    def _branch(self, decision: Any) -> Body:
        return self._bodies[0 if bool(decision) else 1]


class _WhileLoop(InStep):
    def forward(self, reference: Sequence[Any], actual: Sequence[Any]) -> tuple[Any, Any]:
        condition, body = self._bodies
        (r, r_fixed), (a, a_fixed) = reference, actual
        # Like the op: an output is never one of the inputs itself.
        r, a = _cloned(r), _cloned(a)
        while True:
            r_goes, a_goes = condition.both(*r, *r_fixed, *a, *a_fixed)
            if not (bool(r_goes) and bool(a_goes)):
                break
            r, a = body.both(*r, *r_fixed, *a, *a_fixed)
        if bool(r_goes) or bool(a_goes):
            (r_body, a_body), (r_condition, a_condition) = body.alone(), condition.alone()
            while bool(r_goes):
                r = r_body(*r, *r_fixed)
                r_goes = r_condition(*r, *r_fixed)
            while bool(a_goes):
                a = a_body(*a, *a_fixed)
                a_goes = a_condition(*a, *a_fixed)
        return tuple(r), tuple(a)


class _Map(InStep):
    def forward(self, reference: Sequence[Any], actual: Sequence[Any]) -> tuple[Any, Any]:
        (r_mapped, r_fixed), (a_mapped, a_fixed) = reference, actual
        body = self._bodies[0].both
        results = [body(*r, *r_fixed, *a, *a_fixed) for r, a in zip(zip(*r_mapped), zip(*a_mapped))]
        return _stacked([r for r, _ in results]), _stacked([a for _, a in results])


class _Scan(InStep):
    def forward(self, reference: Sequence[Any], actual: Sequence[Any]) -> tuple[Any, Any]:
        r, r_scanned, r_fixed = reference
        a, a_scanned, a_fixed = actual
        body, carried = self._bodies[0].both, len(r)
        r_outputs, a_outputs = [], []
        for r_item, a_item in zip(zip(*r_scanned), zip(*a_scanned)):
            r, a = body(*r, *r_item, *r_fixed, *a, *a_item, *a_fixed)
            r, a = list(r), list(a)
            r_outputs.append(r[carried:])
            a_outputs.append(a[carried:])
            r, a = r[:carried], a[:carried]
        return (*r, *_stacked(r_outputs)), (*a, *_stacked(a_outputs))


class _Call(InStep):
    """Calls its body once. The setting under which the op does so makes no difference here."""

    def forward(self, reference: Sequence[Any], actual: Sequence[Any]) -> tuple[Any, Any]:
        result: tuple[Any, Any] = self._bodies[0].both(*reference, *actual)
        return result


class _SetGradEnabled(_Call):
    def forward(self, reference: Sequence[Any], actual: Sequence[Any]) -> tuple[Any, Any]:
        return super().forward(reference[1:], actual[1:])


class _Autocast(_Call):
    def forward(self, reference: Sequence[Any], actual: Sequence[Any]) -> tuple[Any, Any]:
        device, dtype, enabled, cached = reference[:4]
        with torch.autocast(device, dtype, enabled, cached):
            return super().forward(reference[4:], actual[4:])


IN_STEP: dict[Any, Callable[[Sequence[Body]], InStep]] = {
    _ops.cond: _Cond,
    _ops.while_loop: _WhileLoop,
    _ops.map_impl: _Map,
    _ops.scan: _Scan,
    _ops.wrap_with_set_grad_enabled: _SetGradEnabled,
    _ops.wrap_with_autocast: _Autocast,
    _ops.tag_activation_checkpoint: _Call,
}


def _cloned(values: Sequence[Any]) -> list[Any]:
    return pytree.tree_map_only(Tensor, torch.clone, list(values))  # type: ignore[no-any-return]


def _stacked(outputs: Sequence[Any]) -> Any:
    """Stack the tensors of several outputs of the same structure."""
    leaves = [pytree.tree_leaves(each) for each in outputs]
    stacked = [torch.stack(each) if isinstance(each[0], Tensor) else None for each in zip(*leaves)]
    return pytree.tree_unflatten(stacked, pytree.tree_structure(outputs[0]))
