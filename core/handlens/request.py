"""What is asked of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from handlens.targets import Target

STAGES = ("load", "export", "quantize", "compare")


@dataclass(frozen=True)
class RunRequest:
    """One target to run."""

    target: Target
    text: str | None = None
    """The text of the target's file as its editor has it; None to read it from disk."""
    recipe: str | None = None
    """Overrides the recipe that the target asks for."""
    default_recipe: str | None = None
    """For a target that asks for none."""
    workspace: tuple[str, ...] = ()
    """Folders whose files may show findings, beside the target's own file."""
    keep_float: tuple[str | int, ...] | None = None
    """What stays in float instead of what the target asks for: module paths and debug handles."""
    unsaved: dict[str, str] = field(default_factory=dict)
    """The texts of other files, by their paths, that the disk does not have yet."""
    keep_export: bool = False
    """Whether to keep the exported model in memory, for another recipe."""
    reuse_export: bool = False
    """Whether to take the model that a run of the same text within the same memory has kept, unless a file
    that it read is another one by now."""
    memory_limit_mib: int | None = None
    """What the run may take beyond the interpreter and torch; the allocation that exceeds it fails."""
