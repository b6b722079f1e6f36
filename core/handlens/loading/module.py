"""Imports the user's file from its text, saved or not, under its own module name."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from types import ModuleType

from handlens.loading.importing import Finder, Loader, Sources


def load(sources: Sources, search: Iterable[str] = ()) -> ModuleType:
    """Execute the target's text as the module of its file, with the folder of its package on ``sys.path``.

    ``search`` has more folders for its imports. Raises whatever the user's code raises.
    """
    finder = Finder(sources)
    finder.install()
    root, name = _module_name(sources.file)
    sys.path[:0] = [root]
    sys.path.extend(each for each in search if each not in sys.path)
    package, _, attribute = name.rpartition(".")
    if package:
        importlib.import_module(package)
    if finder.target is None:
        # Python cannot import every file by name: the text may be of a notebook or an untitled file.
        loader = Loader(name, sources.file, finder)
        spec = importlib.util.spec_from_file_location(name, sources.file, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loader.exec_module(module)
    else:
        # The package of the file has imported it already.
        module = sys.modules[name] = finder.target
    if package:
        setattr(sys.modules[package], attribute, module)
    return module


def _module_name(file: str) -> tuple[str, str]:
    """The folder from which a file is imported, and its dotted name from there."""
    folder, stem = os.path.dirname(file), os.path.splitext(os.path.basename(file))[0]
    parts = [stem]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    name = ".".join(parts[:-1] if stem == "__init__" and len(parts) > 1 else parts)
    if name in sys.modules or name in sys.stdlib_module_names:
        # Another module has the name of the file, and must not be replaced for those who import it.
        name = f"_handlens_target_{stem}"
    return folder, name
