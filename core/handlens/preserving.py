"""The user's model stays as it was given, whatever a run of it does."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def as_given(model: nn.Module) -> Iterator[None]:
    """Give a model's buffers their values back in the end, and its modules the attributes they had.

    Lists, dictionaries and sets among the attributes get their elements back.
    """
    buffers = [(each, each.detach().clone()) for each in model.buffers()]
    # What TorchScript has compiled keeps its attributes elsewhere.
    modules = [
        (each, _attributes(each))
        for each in model.modules()
        if not isinstance(each, torch.jit.ScriptModule)
    ]
    try:
        yield
    finally:
        for module, before in modules:
            module.__dict__.clear()
            module.__dict__.update(before)
        with torch.no_grad():
            for buffer, was in buffers:
                buffer.resize_(was.shape).copy_(was)


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: _held(value) for name, value in vars(module).items()}


def _held(value: Any) -> Any:
    # Exactly these types: what is derived from them may not be copied so easily.
    if type(value) in (list, dict, set):
        return copy.copy(value)
    return value.clone() if type(value) is Tensor and not value.requires_grad else value
