"""Restores the user's model after a run, whatever the run changes."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Exactly these types: subclasses may not be copied so easily.
_CONTAINERS = (list, dict, set, OrderedDict, defaultdict, deque)


@contextmanager
def as_given(model: nn.Module) -> Iterator[None]:
    """Restore the buffers of a model and the attributes of its modules to what they are before the block.

    Containers among the attributes (lists, dictionaries, a module's hooks) get their elements back and stay
    the same objects, because other objects refer to them, such as the handle of a hook.
    """
    buffers = [(each, each.detach().clone()) for each in model.buffers()]
    # The attributes of TorchScript modules are not in ``vars``.
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
