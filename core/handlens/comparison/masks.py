"""Positions that a mask takes out of a softmax: what is there does not matter, as long as it is low enough.

-1e9, the smallest float and -inf all do. They differ from each other by more than all else that a model
computes, so an op that nothing but a softmax reads is compared without them: without the positions that
both models have far below the largest of their row, and the rows that both mask wholly. What comes of those
rows is seen at the softmax.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node

from handlens.capture.nodes import example, is_floating, op_name

# What is this far below the largest of its row has e^-40 of its weight after the softmax: 4e-18, which is
# nothing beside 1, be it in float64.
_FAR = 40.0
# A row that has nothing above this is a mask's.
_WHOLLY = -1000.0

_SOFTMAX = {"softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax", "logsumexp"}
# What hands each row on as it is, or adds to it.
_HANDS_ON = {
    "add", "add_", "sub", "where", "masked_fill", "masked_fill_", "maximum", "max", "clamp", "clamp_min",
    "to", "_to_copy", "type_as", "expand", "expand_as", "contiguous", "clone", "detach", "alias",
}  # fmt: skip
# What export puts before a cast: it reads a type, and no value.
_ASKS = {torch.ops.aten._assert_tensor_metadata.default}
_RESHAPES = {"unsqueeze", "squeeze", "view", "reshape", "_unsafe_view", "slice"}


def is_masked(node: Node) -> bool:
    """Whether nothing but softmax over the last dimension reads the output of an op, as it is or with
    something added to it."""
    pending, seen = [node], {node}
    while pending:
        current = pending.pop()
        if not is_floating(current) or not example(current).dim() or not current.users:
            return False
        for user in current.users:
            if user in seen or user.target in _ASKS or _is_softmax(user, current):
                continue
            name = op_name(user)
            if name not in _HANDS_ON and not (name in _RESHAPES and _keeps_rows(current, user)):
                return False
            seen.add(user)
            pending.append(user)
    return True


def _is_softmax(user: Node, source: Node) -> bool:
    name = op_name(user)
    if name == "scaled_dot_product_attention":
        mask = user.args[3] if len(user.args) > 3 else user.kwargs.get("attn_mask")
        return mask is source and source not in user.args[:3]
    if name not in _SOFTMAX:
        return False
    dims = user.args[1] if len(user.args) > 1 else user.kwargs.get("dim")
    dims = dims if isinstance(dims, (list, tuple)) else [dims]
    last = example(source).dim() - 1
    return all(each in (-1, last) for each in dims)


def _keeps_rows(source: Node, user: Node) -> bool:
    before, after = example(source).shape, example(user).shape
    return len(before) > 0 and len(after) > 0 and str(before[-1]) == str(after[-1])


def masked(reference: Tensor, actual: Tensor) -> Tensor | None:
    """The positions that both models mask; None where there are none.

    A row that is masked wholly, and infinite in parts on one side, is left in: a softmax makes something
    else of it.
    """
    if reference.shape != actual.shape or not reference.numel():
        return None
    # A mask reaches far below what scores and biases have.
    low = min(float(reference.min()), float(actual.min()))
    if low > -_FAR:
        return None
    (far, wholly), (far_too, wholly_too) = map(_far_below, (reference, actual))
    finite = (reference.isfinite() & actual.isfinite()).all(-1, keepdim=True)
    found = (far & far_too & ~wholly & ~wholly_too) | (wholly & wholly_too & finite)
    return found if bool(found.any()) else None


def _far_below(value: Tensor) -> tuple[Tensor, Tensor]:
    """The values that lie far below the largest of their row, and the rows that have nothing else."""
    largest = value.amax(-1, keepdim=True).double()
    return value.double() <= largest - _FAR, largest < _WHOLLY
