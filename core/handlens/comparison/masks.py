"""Positions that a mask takes out of a softmax.

Any value that is low enough masks a position: -1e9, the smallest float, -inf. These differ from each other
by more than all other values of a model, so they would hide its noise. An op that nothing but a softmax
reads is therefore compared without the positions that are, in both models, far below the largest of their
row, and without the rows that both models mask wholly. The softmax itself is compared in full.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node

from handlens.capture.nodes import example, is_floating, op_name

# A value this far below the largest of its row has e^-40 of its weight after the softmax: 4e-18, which is
# lost in a sum with 1, even in float64.
_FAR = 40.0
# A row whose largest value is below this is masked wholly.
_WHOLLY = -1000.0

_SOFTMAX = {"softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax", "logsumexp"}
# Ops that pass each row on as it is, or add to it.
_PASSES_ON = {
    "add", "add_", "sub", "where", "masked_fill", "masked_fill_", "maximum", "max", "clamp", "clamp_min",
    "to", "_to_copy", "type_as", "expand", "expand_as", "contiguous", "clone", "detach", "alias",
}  # fmt: skip
# Export adds this before a cast. It reads the type of a tensor, and none of its values.
_READS_TYPE = {torch.ops.aten._assert_tensor_metadata.default}
_RESHAPES = {"unsqueeze", "squeeze", "view", "reshape", "_unsafe_view", "slice"}


def is_masked(node: Node) -> bool:
    """True if nothing but a softmax over the last dimension reads the output of an op.

    Other ops may come between that pass rows on or add to them.
    """
    pending, seen = [node], {node}
    while pending:
        current = pending.pop()
        if not is_floating(current) or not example(current).dim() or not current.users:
            return False
        for user in current.users:
            if user in seen or user.target in _READS_TYPE or _is_softmax(user, current):
                continue
            name = op_name(user)
            if name not in _PASSES_ON and not (name in _RESHAPES and _keeps_rows(current, user)):
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
    """The positions that both models mask; None if there are none.

    A wholly masked row that has infinities is compared all the same: its softmax is NaN, or another
    distribution.
    """
    if reference.shape != actual.shape or not reference.numel():
        return None
    # Scores and biases do not come close to the values of a mask.
    low = min(float(reference.min()), float(actual.min()))
    if low > -_FAR:
        return None
    (far, wholly), (far_too, wholly_too) = map(_far_below, (reference, actual))
    finite = (reference.isfinite() & actual.isfinite()).all(-1, keepdim=True)
    found = (far & far_too & ~wholly & ~wholly_too) | (wholly & wholly_too & finite)
    return found if bool(found.any()) else None


def _far_below(value: Tensor) -> tuple[Tensor, Tensor]:
    """The values far below the largest of their row, and the rows that are masked wholly."""
    largest = value.amax(-1, keepdim=True).double()
    return value.double() <= largest - _FAR, largest < _WHOLLY
