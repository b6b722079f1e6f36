"""Measures a change the plain way: the recipe quantizes the model with it, and both graphs run."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from handlens.advice_report import Scores
from handlens.capture.export import Captured
from handlens.comparison.compared import Outputs
from handlens.comparison.memory import state_restored
from handlens.comparison.objectives import Objectives, OutputScores
from handlens.comparison.random_state import RandomState
from handlens.loading.inputs import Inputs, cloned
from handlens.loading.subject import Subject
from handlens.recipes import Recipe


def outputs(model: GraphModule, inputs: Inputs) -> list[object]:
    """The leaves of the outputs of a graph for one batch; its state and the batch stay as they are."""
    args, kwargs = cloned(inputs)
    with state_restored(model), torch.no_grad():
        leaves: list[object] = cloned(pytree.tree_leaves(model(*args, **kwargs)))
        return leaves


def real_run(
    captured: Captured, subject: Subject, recipe: Recipe, kept: tuple[str | int, ...]
) -> Scores:
    """The accuracy of the outputs with ``kept`` in float, beside what the target itself keeps."""
    start = RandomState()
    wanted = replace(subject, keep_float=(*subject.keep_float, *kept))
    quantized = recipe.quantize(captured, wanted)
    scores = OutputScores(Objectives(captured, subject))
    for batch in subject.evaluation_batches():
        start.restore()
        reference = outputs(quantized.reference, batch.inputs)
        start.restore()
        scores.add(Outputs(reference, outputs(quantized.actual, batch.inputs)), batch)
    return scores.result
