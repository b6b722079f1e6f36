"""Which output of a model looks like logits, and how far the logits of two models agree.

Logits are rows of scores, one score for each class, in the last dimension. What is said of them (the class
with the largest score, a divergence) makes no sense of boxes, embeddings or pictures, so an output counts
as logits only where the captured program leaves little doubt:

- It is the model's only floating point output, or the one that is named ``logits``.
- Its rows are those of a linear layer, or of a convolution that gives one pixel. Between them there is
  nothing but ops that leave each row as it is (a view, a dropout, a cast, a choice of rows), and
  ``softmax`` or ``log_softmax`` over the classes. There are two classes or more.
- With neither a softmax nor a name that tells of classes (of the output, the layer or the model's class),
  no name must tell of something else: a box, an embedding, a projection, a regression, … The output must
  not have the shape of an input of the model, as a reconstruction has; and the layer must not give as many
  values as it takes, as one between others does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from handlens.advice_report import LogitsAgreement
from handlens.capture.export import Captured
from handlens.capture.nodes import example, is_floating, module_of, op_name
from handlens.comparison.compared import Outputs
from handlens.comparison.statistics import ExactSum

_LAYERS = {"linear", "conv1d", "conv2d", "conv3d", "convolution"}
_KEEP_ROWS = {
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous",
    "clone", "alias", "detach", "to", "_to_copy", "dropout", "slice",
}  # fmt: skip
_SOFTMAX = {"softmax": True, "_softmax": True, "log_softmax": False, "_log_softmax": False}
"""True for the ops that give probabilities, False for those that give their logarithms."""

_CLASSES = re.compile(r"classif|logits|lm_head", re.IGNORECASE)
_SOMETHING_ELSE = re.compile(
    r"box|coord|point|landmark|offset|delta|(?<!logistic)(?<!logistic_)regress"
    r"|embed|proj|feature|latent|encode|reconstruct|forecast",
    re.IGNORECASE,
)

# How many scores are looked at in one go. They are copied in float64.
_SCORES = 1 << 18


@dataclass(frozen=True)
class Logits:
    """The output that looks like logits."""

    leaf: int
    """Its number among the leaves of the model's outputs."""
    are_probabilities: bool
    """True if the model ends in a softmax: the logarithms of its output are the logits."""


def find_logits(captured: Captured, model: nn.Module) -> Logits | None:
    """The output of an exported model that looks like logits; None if none does."""
    program = captured.program
    by_name = {node.name: node for node in program.graph.nodes}
    leaves = [by_name.get(each) for each in program.graph_signature.user_outputs]
    names = _names(program.call_spec.out_spec, [node and example(node) for node in leaves])
    floating = [leaf for leaf, node in enumerate(leaves) if node is not None and is_floating(node)]
    named = next((leaf for leaf, name in names.items() if name == "logits"), None)
    if named in floating:
        leaf = named
    elif len(floating) == 1:
        [leaf] = floating
    else:
        return None
    output = leaves[leaf]
    assert output is not None
    source, softmax = _source(output)
    if source is None:
        return None
    known = (names.get(leaf, ""), module_of(source), type(model).__name__)
    if softmax is None and not any(map(_CLASSES.search, known)):
        if any(map(_SOMETHING_ELSE.search, known)):
            return None
        if _is_square(source) or _has_shape_of_input(captured, output):
            return None
    return Logits(leaf, softmax is True)


def _names(structure: pytree.TreeSpec | None, leaves: list[Any]) -> dict[int, str]:
    """The names that the outputs have as items of a mapping, or as fields, by their numbers."""
    assert structure is not None
    outputs = pytree.tree_unflatten(leaves, structure)
    if isinstance(outputs, Mapping):
        named = dict(outputs)
    elif isinstance(outputs, tuple) and hasattr(outputs, "_asdict"):
        named = outputs._asdict()
    elif is_dataclass(outputs):
        named = {each.name: getattr(outputs, each.name) for each in fields(outputs)}
    else:
        named = {}
    return {
        leaf: str(name)
        for name, value in named.items()
        for leaf, tensor in enumerate(leaves)
        if value is tensor is not None
    }


def _source(output: Node) -> tuple[Node | None, bool | None]:
    """The layer whose rows an output has, and whether the last softmax over them gives probabilities.

    The layer is None if there is none, the other None without a softmax.
    """
    softmax: bool | None = None
    node: Any = output
    classes, dim = _classes(output)
    if classes is None or dim != _dims(output) - 1:
        return None, None
    while isinstance(node, Node) and _classes(node)[0] == classes:
        name, (_, dim) = op_name(node), _classes(node)
        if name in _LAYERS:
            pixels = _dims(node.args[1]) - 2
            return (node if dim == _dims(node) - 1 - pixels else None), softmax
        if name in _SOFTMAX and _is_along_classes(node):
            softmax = _SOFTMAX[name] if softmax is None else softmax
        elif name not in _KEEP_ROWS and not (name == "select" and not _is_along_classes(node)):
            break
        node = node.args[0]
    return None, None


def _classes(node: Node) -> tuple[int | None, int]:
    """The size of the last dimension that is not 1, and its number; None if there is no such size."""
    value = example(node)
    if isinstance(value, Tensor):
        for dim in reversed(range(value.dim())):
            size: Any = value.shape[dim]
            if not isinstance(size, int):
                break
            if size != 1:
                return size, dim
    return None, 0


def _dims(node: Any) -> int:
    dims: int = example(node).dim()
    return dims


def _is_along_classes(node: Node) -> bool:
    """True if an op such as ``softmax(x, dim)`` or ``select(x, dim, 0)`` works along the classes."""
    given, dim = node.args[:2]
    assert isinstance(given, Node)
    return isinstance(dim, int) and dim % _dims(given) == _classes(given)[1]


def _is_square(layer: Node) -> bool:
    weight = layer.args[1]
    assert isinstance(weight, Node)
    values, inputs = example(weight).shape[:2]
    return bool(values == inputs)


def _has_shape_of_input(captured: Captured, output: Node) -> bool:
    inputs = set(captured.program.graph_signature.user_inputs)
    return any(
        node.name in inputs and is_floating(node) and example(node).shape == example(output).shape
        for node in captured.program.graph.nodes
    )


class LogitsStatistics:
    """How far the logits of two models agree, over any number of batches.

    Rows of the reference without a softmax are left out: those with NaN or infinity. Minus infinity is
    fine: that is how a class is masked.
    The batches may be added in any order: the result is the same, to the bit.
    """

    def __init__(self, logits: Logits | None) -> None:
        self._logits = logits
        self._rows = 0
        self._agreeing = 0
        self._divergence = ExactSum()
        self._is_finite = True
        self._are_comparable = True

    def add(self, outputs: Outputs) -> None:
        """Add the outputs for a batch."""
        if self._logits is None:
            return
        reference = outputs.reference[self._logits.leaf]
        actual = outputs.actual[self._logits.leaf].to(reference.device)
        if reference.shape != actual.shape:
            self._are_comparable = False
            return
        classes = reference.shape[-1]
        rows = max(1, _SCORES // classes)
        mine, theirs = reference.reshape(-1, classes), actual.reshape(-1, classes)
        for some, others in zip(mine.split(rows), theirs.split(rows)):
            self._add(self._logits, some, others)

    def _add(self, logits: Logits, reference: Tensor, actual: Tensor) -> None:
        wanted = _log_probabilities(logits, reference)
        known = ~wanted.isnan().any(-1)
        reference, actual, wanted = reference[known], actual[known], wanted[known]
        # Both take the first of several that are largest. Of a row with NaN, there is none.
        agree = (reference.argmax(-1) == actual.argmax(-1)) & ~actual.isnan().any(-1)
        shares = wanted.exp()
        terms = shares * (wanted - _log_probabilities(logits, actual))
        divergence = math.fsum(torch.where(shares == 0, 0.0, terms).sum(-1).tolist())
        self._rows += len(reference)
        self._agreeing += int(agree.sum())
        if math.isfinite(divergence):
            self._divergence.add(divergence)
        else:
            self._is_finite = False

    def update(self, other: LogitsStatistics) -> None:
        """Add the statistics of other batches."""
        self._rows += other._rows
        self._agreeing += other._agreeing
        self._divergence.update(other._divergence)
        self._is_finite &= other._is_finite
        self._are_comparable &= other._are_comparable

    @property
    def result(self) -> LogitsAgreement | None:
        """None if nothing looks like logits, or no rows could be compared."""
        if not self._rows or not self._are_comparable:
            return None
        # Of equal logits it is zero, but rounding may make it negative.
        divergence = max(0.0, float(self._divergence)) / self._rows
        return LogitsAgreement(
            self._agreeing / self._rows, divergence if self._is_finite else None, self._rows
        )


def _log_probabilities(logits: Logits, rows: Tensor) -> Tensor:
    rows = rows.double()
    return (rows.log() if logits.are_probabilities else rows).log_softmax(-1)
