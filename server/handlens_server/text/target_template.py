"""Writes a target function for a model class from its text: a draft that the author completes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from handlens import syntax, targets

_INDENT = "    "

# Layers whose first argument is the width of the input, and the shape of the input without the batch.
_SHAPES = {
    "Conv1d": "{}, 64",
    "Conv2d": "{}, 64, 64",
    "Conv3d": "{}, 16, 32, 32",
    "Linear": "{}",
    "LSTM": "16, {}",
    "GRU": "16, {}",
}
_IMAGE = "torch.randn(1, 3, 64, 64)"
_TOKENS = "torch.randint(0, 100, (1, 16))"


def model_classes(text: str, first: int, last: int) -> Iterator[ast.ClassDef]:
    """The model classes that have a header in the lines from ``first`` to ``last``, and no target."""
    tree = syntax.tree(text)
    for node in tree.body if tree else ():
        if (
            isinstance(node, ast.ClassDef)
            and node.lineno <= last
            and first < max(node.body[0].lineno, node.lineno + 1)
            and _method(node, "forward") is not None
            and _method(node, "example_inputs") is None
            and tree is not None
            and not _is_called(node.name, tree)
        ):
            yield node


def target_function(model: ast.ClassDef, text: str) -> str:
    """The text of ``handlens_<name>`` for a model class, to be added at the end of ``text``."""
    name = targets.PREFIX + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model.name).lower()
    taken = set(re.findall(r"^def (\w+)", text, re.MULTILINE))
    unique = next(n for n in (name, *(f"{name}_{i}" for i in range(2, 1000))) if n not in taken)
    forward, init = _method(model, "forward"), _method(model, "__init__")
    assert forward is not None
    arguments = (
        ", ".join(f"{each.arg}=..." for each in targets.required_arguments(init)) if init else ""
    )
    inputs = [_input(each, model) for each in targets.required_arguments(forward)]
    signature = ", ".join(each.arg for each in [*forward.args.posonlyargs, *forward.args.args][1:])
    lines = [
        f"def {unique}():",
        *(
            []
            if re.search(r"^import torch\b", text, re.MULTILINE)
            else [f"{_INDENT}import torch\n"]
        ),
        f"{_INDENT}# Guessed from {model.name}.forward({signature}): put in what it is made for.",
        f"{_INDENT}return {model.name}({arguments}), ({', '.join(inputs)}{',' * (len(inputs) == 1)})",
    ]
    end = "\r\n" if "\r\n" in text else "\n"
    start = end * (0 if not text or text.endswith(("\n", "\r")) else 1) + 2 * end
    return start + "\n".join(lines).replace("\n", end) + end


def _method(model: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    methods = (each for each in model.body if isinstance(each, ast.FunctionDef))
    return next((each for each in methods if each.name == name), None)


def _is_called(name: str, tree: ast.Module) -> bool:
    functions = (
        each
        for each in tree.body
        if isinstance(each, ast.FunctionDef) and each.name.startswith(targets.PREFIX)
    )
    return any(
        isinstance(node, ast.Name) and node.id == name
        for each in functions
        for node in ast.walk(each)
    )


def _input(argument: ast.arg, model: ast.ClassDef) -> str:
    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
    if annotation in ("int", "float", "bool"):
        return {"int": "1", "float": "1.0", "bool": "True"}[annotation]
    if "mask" in argument.arg:
        return "torch.ones(1, 16, dtype=torch.bool)"
    if re.search(r"(^|_)(ids?|idx|tokens?)$", argument.arg):
        return _TOKENS
    init = _method(model, "__init__")
    calls = sorted(
        (each for each in ast.walk(init) if isinstance(each, ast.Call)) if init else (),
        key=lambda each: (each.lineno, each.col_offset),
    )
    for call in calls:
        layer = ast.unparse(call.func).rpartition(".")[2]
        if layer == "Embedding":
            return _TOKENS
        width = call.args[0] if call.args else None
        if layer in _SHAPES and isinstance(width, ast.Constant) and isinstance(width.value, int):
            return f"torch.randn(1, {_SHAPES[layer].format(width.value)})"
    return _IMAGE
