"""The user's model stays as it was given, whatever a run of it does."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Exactly these types: what is derived from them may not be copied so easily.
_CONTAINERS = (list, dict, set, OrderedDict, defaultdict, deque)


@contextmanager
def as_given(model: nn.Module) -> Iterator[None]:
    """Give a model's buffers their values back in the end, and its modules the attributes they had.

    Containers among the attributes (lists, dictionaries, a module's hooks) get their elements back, and are
    the same objects as before: others may hold them, as a hook's handle does.
    """
    buffers = [(each, each.detach().clone()) for each in model.buffers()]
    # What TorchScript has compiled keeps its attributes elsewhere.
    modules = [each for each in model.modules() if not isinstance(each, torch.jit.ScriptModule)]
    attributes = [
        (each, {name: _held(value) for name, value in vars(each).items()}) for each in modules
    ]
    containers = [
        (value, copy.copy(value))
        for each in modules
        for value in vars(each).values()
        if type(value) in _CONTAINERS
    ]
    try:
        yield
    finally:
        for module, before in attributes:
            module.__dict__.clear()
            module.__dict__.update(before)
        for container, elements in containers:
            container.clear()
            fill = container.extend if hasattr(container, "extend") else container.update
            fill(elements)
        with torch.no_grad():
            for buffer, was in buffers:
                buffer.resize_(was.shape).copy_(was)


def _held(value: Any) -> Any:
    return value.clone() if type(value) is Tensor and not value.requires_grad else value
