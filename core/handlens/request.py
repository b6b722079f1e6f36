"""What a client asks a worker to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from handlens.advice_report import ChangeKind
from handlens.targets import Target

Stage = Literal["load", "export", "quantize", "compare", "advise"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""The stages of a run, in order, named so by every front end. The last is for runs that ask for advice."""


@dataclass(frozen=True)
class Progress:
    """How far a stage of a run is."""

    stage: Stage
    share: float
    """The share of its ops that are done, from 0 to 1."""
    layer: int | None = None
    """The number of the layer whose ops are run, from 1 on; None outside of all layers."""
    layers: int | None = None
    """How many layers the model has; None outside of all layers."""
    batch: int = 1
    """The number of the batch. After the first one, all ops were done once, and the share stays."""

    def __str__(self) -> str:
        """``layer 7 of 24``, outside of layers ``29 % of the ops``; later ``batch 2, layer 7 of 24``."""
        layer = None if self.layer is None else f"layer {self.layer} of {self.layers}"
        if self.batch == 1:
            return layer or f"{100 * self.share:.0f} % of the ops"
        return f"batch {self.batch}, {layer}" if layer else f"batch {self.batch}"


@dataclass(frozen=True)
class AdviceRequest:
    """A search for the changes that win accuracy back."""

    reach_db: float | None = None
    """The SQNR of the output at which to stop; None to find all that is worth a change."""
    budget_s: float | None = None
    """The seconds after which the search ends with what it has found; None for no limit."""
    most: int = 8
    """The most changes to propose."""


@dataclass(frozen=True)
class Shard:
    """The part of one process in a run that several processes share."""

    rank: int
    world_size: int
    run: int
    """The number of the run, the same in all its processes: how many they have shared before."""


@dataclass(frozen=True)
class RunRequest:
    """A target to run, and how.

    A field that is left out stands for what the target itself asks for, or for what the disk has.
    """

    target: Target
    text: str | None = None
    """The text of the target's file as its editor has it; None to read it from disk."""
    recipe: str | None = None
    """The recipe to use instead of the one that the target names."""
    default_recipe: str | None = None
    """The recipe to use if the target names none."""
    workspace: tuple[str, ...] = ()
    """Folders whose files may show findings; the target's own file always may."""
    keep_float: tuple[str | int, ...] | None = None
    """Module paths and debug handles of the ops to keep in float; overrides those that the target names."""
    adjust: tuple[tuple[str | int, ChangeKind], ...] | None = None
    """Such paths and handles, each with a change to how their ops are quantized; overrides the target's."""
    advise: AdviceRequest | None = None
    """The search for advice that follows the comparison; None for none."""
    unsaved: dict[str, str] = field(default_factory=dict)
    """By path, the texts of other files that are open in an editor and not saved."""
    hold_export: bool = False
    """True to hold the exported model in memory, and to measure nothing that an earlier run has measured.

    A request whose text differs in the options of the target starts from there.
    """
    reuse_export: bool = False
    """True to start from the held export of an earlier run with the same text and memory limit.

    The model is exported again if there is none, or if a file that was read has changed since.
    """
    memory_limit_mib: int | None = None
    """The memory that the run may allocate beyond that of the interpreter and torch.

    An allocation that exceeds the limit fails.
    """

    shard: Shard | None = None
    """The part of this process, if torchrun has started several; None to do all of the run."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of this run, in order."""
        return STAGES if self.advise else STAGES[: STAGES.index("advise")]
