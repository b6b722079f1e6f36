"""Graphs that are compiled when they are called.

A graph module generates its Python code whenever it is made or was rewritten. torch and torchao rewrite one
a dozen times between an exported program and a quantized graph, and call it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.fx import GraphModule


@contextmanager
def late_compiling() -> Iterator[None]:
    """While the block runs, ``recompile`` has a graph module compiled when it is called next.

    Until then it has no ``code``.
    """
    compile_now = GraphModule.recompile

    def recompile(module: GraphModule) -> None:
        # Checks of a module's inputs, which come before its code is called, ask for these.
        tree = getattr(module.graph._codegen, "pytree_info", None)
        if tree is not None:
            module._in_spec, module._out_spec = tree.in_spec, tree.out_spec
        # Each graph module has a class of its own.
        type(module).forward = _Uncompiled(compile_now)  # type: ignore[assignment]
        vars(module).pop("_code", None)
        module._recompile_submodules()

    GraphModule.recompile = recompile  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        GraphModule.recompile = compile_now  # type: ignore[method-assign]


class _Uncompiled:
    """The ``forward`` of a graph module that is compiled when somebody asks for it."""

    def __init__(self, compile_now: Callable[[GraphModule], Any]) -> None:
        self._compile_now = compile_now

    def __get__(self, module: GraphModule | None, owner: type[nn.Module]) -> Any:
        if module is None:
            return self
        self._compile_now(module)
        return module.forward
