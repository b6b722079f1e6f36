"""Writes a target function for a model class from its text: a draft that the author completes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from handlens import syntax, targets
from handlens.report import Draft

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
_LONGEST_REASON = 200
_IMAGE = "torch.randn(1, 3, 64, 64)"
_TOKENS = "torch.randint(0, 100, (1, 16))"


def model_classes(text: str, first: int = 1, last: int | None = None) -> list[ast.ClassDef]:
    """The model classes that have a header in the lines from ``first`` to ``last``, and no target.

    Those come first that no other one of them uses.
    """
    found = list(_model_classes(text, first, len(text) if last is None else last))
    used = {
        node.id
        for each in found
        for node in ast.walk(each)
        if isinstance(node, ast.Name) and node.id != each.name
    }
    return sorted(found, key=lambda each: each.name in used)


def _model_classes(text: str, first: int, last: int) -> Iterator[ast.ClassDef]:
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


def target_function(model: ast.ClassDef, text: str, draft: Draft | None = None) -> str:
    """The text of ``handlens_<name>`` for a model class, to be added at the end of ``text``.

    It has what ``draft`` found out, and guesses where there is none.
    """
    name = targets.PREFIX + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model.name).lower()
    taken = set(re.findall(r"^def (\w+)", text, re.MULTILINE))
    unique = next(n for n in (name, *(f"{name}_{i}" for i in range(2, 1000))) if n not in taken)
    guess = _guessed(model)
    lines = [
        f"def {unique}():",
        *(
            []
            if re.search(r"^import torch\b", text, re.MULTILINE)
            else [f"{_INDENT}import torch\n"]
        ),
        *_body(model, draft, guess),
    ]
    end = "\r\n" if "\r\n" in text else "\n"
    start = end * (0 if not text or text.endswith(("\n", "\r")) else 1) + 2 * end
    return start + "\n".join(lines).replace("\n", end) + end


def to_fill_in(function: str, draft: Draft) -> tuple[int, int]:
    """The part of a target function that its author has to change: a missing argument, or the inputs."""
    for part in ("...", draft.args, draft.kwargs):
        if part and (start := function.find(part)) >= 0:
            return start, start + len(part)
    start = function.index("return ") + len("return ")
    return start, start


def _guessed(model: ast.ClassDef) -> Draft:
    """What can be told of a target without running anything."""
    forward, init = _method(model, "forward"), _method(model, "__init__")
    assert forward is not None
    arguments = (
        ", ".join(f"{each.arg}=..." for each in targets.required_arguments(init)) if init else ""
    )
    inputs = [_input(each, model) for each in targets.required_arguments(forward)]
    return Draft(f"{model.name}({arguments})", f"({', '.join(inputs)}{',' * (len(inputs) == 1)})")


def _body(model: ast.ClassDef, draft: Draft | None, guess: Draft) -> Iterator[str]:
    """The lines of a target function behind its imports."""
    if draft is None:
        yield f"{_INDENT}# Guessed from {model.name}.forward: put in what it is made for."
        draft = guess
    elif draft.missing:
        missing = " ".join(draft.missing.split())[:_LONGEST_REASON]
        yield f"{_INDENT}# Not run yet: {missing}"
        known = draft.model if "..." not in draft.model else ""
        draft = Draft(known or guess.model, draft.args or guess.args)
    else:
        yield f"{_INDENT}# {model.name} runs on these random inputs: put in real data."
    if not draft.kwargs:
        yield f"{_INDENT}return {draft.model}, {draft.args}"
        return
    yield f"{_INDENT}return {{"
    items = ("model", draft.model), ("example_inputs", draft.args), ("example_kwargs", draft.kwargs)
    for key, code in items:
        yield f'{_INDENT * 2}"{key}": {code},'
    yield f"{_INDENT}}}"


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
