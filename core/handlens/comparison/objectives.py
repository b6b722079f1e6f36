"""What is measured of a model's outputs as a whole: SQNR, agreement of logits, the target's own metric."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from handlens.advice_report import LogitsAgreement, Scores
from handlens.capture.export import Captured
from handlens.comparison.compared import Outputs
from handlens.comparison.logits import LogitsStatistics, find_logits
from handlens.comparison.random_state import RandomState
from handlens.comparison.recorder import pool
from handlens.comparison.statistics import ExactSum, Statistics
from handlens.loading.inputs import cloned
from handlens.loading.subject import Batch, InvalidTarget, Subject, kind
from handlens.report import Metric


class MetricFailed(Exception):
    """The target's metric raised ``error``; ``what`` says for which outputs."""

    def __init__(self, what: str, error: BaseException) -> None:
        super().__init__(what, error)
        self.what = what
        self.error = error


class Objectives:
    """What there is to measure of the outputs of an exported model."""

    def __init__(self, captured: Captured, subject: Subject) -> None:
        self.logits = find_logits(captured, subject.model)
        self.metric = subject.metric
        self._structure = captured.program.call_spec.out_spec

    @property
    def metric_name(self) -> str:
        """The name of the metric's function; "metric" if it has none that is a word."""
        name = str(getattr(self.metric, "__name__", ""))
        return name if name.isidentifier() else "metric"

    def evaluate(
        self, model: Literal["float", "quantized"], outputs: Outputs, batch: Batch
    ) -> float:
        """The metric of the outputs of one of both models, in the types that the float model's have.

        Raises MetricFailed, and InvalidTarget if the metric gives no number.
        """
        assert self.metric is not None
        assert self._structure is not None
        start = RandomState()
        # What a metric does to its arguments must not reach the state of a model, or the next batch.
        leaves = cloned(outputs.reference if model == "float" else outputs.actual)
        typed = [_as(wanted, leaf) for wanted, leaf in zip(outputs.reference, leaves)]
        try:
            with torch.no_grad():
                found = self.metric(
                    pytree.tree_unflatten(typed, self._structure), cloned(batch.given)
                )
                value = found.item() if isinstance(found, Tensor) and found.numel() == 1 else found
        except BaseException as error:
            where = f"the outputs of the {model} model for evaluation batch {batch.number}"
            raise MetricFailed(f"{self.metric_name} failed on {where}", error) from error
        finally:
            start.restore()
        if not isinstance(value, Real):
            raise InvalidTarget(
                f"{self.metric_name} returned {kind(found)}: a metric returns a number"
            )
        return float(value)


def _as(wanted: Any, leaf: Any) -> Any:
    """An output in the type of another: a recipe may compute in half precision."""
    both = isinstance(wanted, Tensor) and isinstance(leaf, Tensor)
    return leaf.to(wanted.dtype) if both else leaf


class OutputScores:
    """The accuracy of a quantized model's outputs, over any number of batches."""

    def __init__(self, objectives: Objectives) -> None:
        self._objectives = objectives
        self._total = Statistics()
        self._logits = LogitsStatistics(objectives.logits)
        self._metric = Mean()

    def add(self, outputs: Outputs, batch: Batch) -> None:
        """Add the outputs for a batch. Raises what ``Objectives.evaluate`` does."""
        pool(self._total, outputs.reference, outputs.actual)
        self._logits.add(outputs)
        if self._objectives.metric is not None:
            self._metric.add(self._objectives.evaluate("quantized", outputs, batch))

    @property
    def result(self) -> Scores:
        return Scores(
            self._total.sqnr_db,
            self._total.verdict == "exact",
            self._logits.result,
            self._metric.value,
        )


class OutputAgreement:
    """What the outputs of both models are worth, over any number of batches, beside their SQNR."""

    def __init__(self, objectives: Objectives) -> None:
        self._objectives = objectives
        self._logits = LogitsStatistics(objectives.logits)
        self._reference, self._quantized = Mean(), Mean()

    def add(self, outputs: Outputs, batch: Batch) -> None:
        """Add the outputs for a batch. Raises what ``Objectives.evaluate`` does."""
        self._logits.add(outputs)
        if self._objectives.metric is not None:
            self._reference.add(self._objectives.evaluate("float", outputs, batch))
            self._quantized.add(self._objectives.evaluate("quantized", outputs, batch))

    @property
    def totals(self) -> tuple[LogitsStatistics, Mean, Mean]:
        """What was measured, to be pooled by ``update`` elsewhere."""
        return self._logits, self._reference, self._quantized

    def update(self, totals: tuple[LogitsStatistics, Mean, Mean]) -> None:
        """Pool what was measured on other batches."""
        logits, reference, quantized = totals
        self._logits.update(logits)
        self._reference.update(reference)
        self._quantized.update(quantized)

    @property
    def logits(self) -> LogitsAgreement | None:
        return self._logits.result

    @property
    def metric(self) -> Metric | None:
        if self._objectives.metric is None:
            return None
        return Metric(self._objectives.metric_name, self._reference.value, self._quantized.value)


class Mean:
    """The mean of numbers, which is the same in whatever order they come."""

    def __init__(self) -> None:
        self._sum = ExactSum()
        self._count = 0
        self._is_finite = True

    def add(self, number: float) -> None:
        self._count += 1
        if math.isfinite(number):
            self._sum.add(number)
        else:
            self._is_finite = False

    def update(self, other: Mean) -> None:
        self._count += other._count
        self._sum.update(other._sum)
        self._is_finite &= other._is_finite

    @property
    def value(self) -> float | None:
        """None if there is none, or none that is finite."""
        return float(self._sum) / self._count if self._count and self._is_finite else None
