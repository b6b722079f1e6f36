"""Imports the modules of a workspace from the texts in the editor, and notes the texts it executes."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import linecache
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType, ModuleType

from handlens.targets import BOM


def _nowhere(file: str) -> bool:
    return False


@dataclass
class Sources:
    """The texts of a run: that of the target's file, and those of the workspace files that it imports."""

    file: str
    text: str
    unsaved: Mapping[str, str] = field(default_factory=dict)
    """The texts of other files that an editor has changed and not saved."""
    in_workspace: Callable[[str], bool] = _nowhere
    texts: dict[str, str] = field(default_factory=dict)
    """The texts that were executed, by file. Filled during import, since files may change afterwards."""

    def __post_init__(self) -> None:
        self.file = os.path.abspath(self.file)
        self._target = os.path.realpath(self.file)
        texts = {**self.unsaved, self.file: self.text}
        self._edited = {os.path.realpath(file): text for file, text in texts.items()}
        self._names = {os.path.basename(file) for file in (*texts, *self._edited)}

    def is_target(self, file: str) -> bool:
        return os.path.realpath(file) == self._target

    def edited(self, file: str) -> str | None:
        """The text of a file in the editor; None if the file is to be read from disk."""
        return self._edited.get(os.path.realpath(file))

    def has(self, file: str) -> bool:
        """True if the text that is executed of a file must be noted."""
        if self.in_workspace(file):
            return True
        # Compare names first: resolving the links of every library file takes a tenth of a second.
        return os.path.basename(file) in self._names and self.edited(file) is not None

    def add(self, file: str, text: str) -> None:
        """Note the text of a file that is executed."""
        self.texts[file] = text
        # Tracebacks and spans quote this text, which may differ from that on disk.
        lines = io.StringIO(text, newline=None).readlines()
        linecache.cache[file] = (len(text), None, lines, file)


class Finder(importlib.abc.MetaPathFinder):
    """Finds modules as the other finders do, and gives ``Loader`` to those whose texts ``Sources`` has."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.target_name = ""
        """The name by which the target's file was imported first."""

    @property
    def target(self) -> ModuleType | None:
        """The module of the target's file; None before it is imported, and if that failed."""
        return sys.modules.get(self.target_name)

    def install(self) -> None:
        """Put this finder before all others, in place of an earlier instance."""
        others = (each for each in sys.meta_path if not isinstance(each, Finder))
        sys.meta_path[:] = [self, *others]

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        # Python skips finders without the method, too.
        others = [each for each in sys.meta_path if each is not self and hasattr(each, "find_spec")]
        specs = (each.find_spec(name, path, target) for each in others)
        spec = next((each for each in specs if each is not None), None)
        if (
            spec is not None
            and spec.origin is not None
            and type(spec.loader) is importlib.machinery.SourceFileLoader
            and self.sources.has(spec.origin)
        ):
            loaded = self.target if self.sources.is_target(spec.origin) else None
            spec.loader = Loader(name, spec.origin, self) if loaded is None else _Loaded(loaded)
        return spec


class Loader(importlib.machinery.SourceFileLoader):
    """Executes the text of a file in the editor, or else that on disk."""

    def __init__(self, name: str, path: str, finder: Finder) -> None:
        super().__init__(name, path)
        self._finder = finder
        self._sources = finder.sources

    def get_code(self, fullname: str) -> CodeType | None:
        if self._sources.is_target(self.path):
            self._finder.target_name = fullname
        text = self._sources.edited(self.path)
        if text is not None:
            self._sources.add(self.path, text)
            return compile(text.removeprefix(BOM), self.path, "exec", dont_inherit=True)
        code = super().get_code(fullname)
        if self.path not in self._sources.texts:
            # Python used its compiled cache, and has not read the text.
            self.get_data(self.path)
        return code

    def get_data(self, path: str) -> bytes:
        data = super().get_data(path)
        if path == self.path:
            # A file that cannot be decoded is not executed.
            with contextlib.suppress(SyntaxError, UnicodeDecodeError):
                self._sources.add(path, importlib.util.decode_source(data))
        return data


class _Loaded(importlib.abc.Loader):
    """Gives the module of a file that is imported again, by another name."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec
