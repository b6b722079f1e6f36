"""Drafts of targets: how a model class can be made, and inputs that it runs on, found by trying.

``constructing`` finds arguments for the class, ``inputs`` shapes for its ``forward``. Both start from names
and annotations, and are corrected by what fails.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from handlens.drafting.constructing import NotMade, make
from handlens.drafting.inputs import NoInputs, find_inputs
from handlens.report import Draft


def draft(model: type[Any], module: ModuleType) -> Draft:
    """The draft of a target for a model class of a module. It says what is missing, if anything is."""
    try:
        made, code = make(model, module)
    except NotMade as reason:
        return Draft(f"{model.__name__}(...)", missing=str(reason))
    try:
        found = find_inputs(made.eval())
    except NoInputs as reason:
        return Draft(code, missing=str(reason))
    return Draft(code, found.args, found.kwargs)
