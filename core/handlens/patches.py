"""Finds out whether code of the user's has put anything in the place of torch's or torchao's.

What a model computes, and how it is quantized, is then no longer decided by the versions of these packages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch

# The packages and modules whose functions and classes trace, quantize or compute.
_PACKAGES = ("torch.nn", "torch.fx", "torch.export", "torch.ao", "torchao")
_MODULES = ("torch", "torch.functional", "torch._tensor", "torch.overrides")
_CODE = (FunctionType, BuiltinFunctionType, type, staticmethod, classmethod, property)

_before: list[tuple[Any, str, object]] = []
_kernels: frozenset[str] = frozenset()


def watch() -> None:
    """Note what torch and torchao are. Call it before code of the user's runs."""
    global _kernels
    _before[:] = _code()
    _kernels = _registered_kernels()


def is_patched() -> bool:
    """True if a function, class or method was replaced, or a kernel registered, or if nobody watched."""
    return (
        not _before
        or _registered_kernels() != _kernels
        or any(vars(owner).get(name) is not value for owner, name, value in _before)
    )


def _code() -> Iterator[tuple[Any, str, object]]:
    """The functions, classes and methods, by what has them and by name."""
    for name, module in list(sys.modules.items()):
        is_watched = name in _MODULES or f"{name}.".startswith(
            tuple(f"{each}." for each in _PACKAGES)
        )
        if not is_watched or not isinstance(module, ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            if _is_code(value):
                yield module, attribute, value
            if issubclass(type(value), type) and value.__module__ == name:
                yield from ((value, *each) for each in vars(value).items() if _is_code(each[1]))


def _is_code(value: object) -> bool:
    # Some objects pretend to be of another class, and import things when they are asked.
    return issubclass(type(value), _CODE)


def _registered_kernels() -> frozenset[str]:
    """Those of torch's own ops: a library may register others for its ops.

    Torch has no public list of what Python code registers.
    """
    return frozenset(each for each in torch.library._impls if each.startswith("aten/"))
