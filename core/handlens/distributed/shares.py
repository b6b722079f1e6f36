"""The evaluation batches, shared out over the ranks of a run.

Rank 0 compares the first batch, which verifies the comparison; all ranks claim the rest, one by one.
Each makes all batches, in order, so that a batch is what it is in one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from handlens.capture.export import Captured
from handlens.capture.nodes import graph_modules, op_of
from handlens.comparison.memory import Memory
from handlens.comparison.ops import is_random
from handlens.distributed import model_digests
from handlens.distributed.ranks import END, NONE_LEFT, Ranks
from handlens.evaluation import Evaluation
from handlens.loading.subject import Batch, InvalidTarget
from handlens.recipes import Quantized
from handlens.report import Failure

_BATCHES = "batches"


def dependence(quantized: Quantized) -> str | None:
    """Why what is measured on a batch depends on the batches before it; None if it does not."""
    for model in (quantized.reference, quantized.actual):
        for part in graph_modules(model):
            memory = Memory(part)
            for node in part.graph.nodes:
                if is_random(node):
                    return f"{op_of(node)} may draw random numbers, other ones for each batch"
                if node.op == "get_attr" and memory.is_written(node):
                    return f"the model changes {node.target}, and each batch starts from the last"
    return None


@dataclass(frozen=True)
class _Share:
    """What a rank has measured."""

    totals: Any
    """None if it has compared no batch."""
    compared: dict[int, str]
    """By number, the digests of the batches that it has compared."""
    made: int
    """How many batches there are."""
    failure: tuple[int, Failure] | None
    """The failure that ended it, and the number of the batch that it was at."""


class Shares:
    """The part of this rank in the comparison of a run."""

    def __init__(
        self, ranks: Ranks, captured: Captured, quantized: Quantized, evaluation: Evaluation
    ) -> None:
        self._ranks, self._evaluation = ranks, evaluation
        self.alone = dependence(quantized)
        """Why rank 0 compares all batches; None if they are shared out."""
        self._at = 1
        """The number of the batch that is made or compared."""
        self._made: dict[int, str] = {}
        """By number, the digests of the batches that this rank has made."""
        self._compared: dict[int, str] = {}
        """Likewise, of those that it has compared."""
        self._failure: tuple[int, Failure] | None = None
        if self.alone is None:
            self._model = model_digests.of_models(captured, quantized)
            if not ranks.is_first:
                ranks.send(self._model, 0)
        elif ranks.is_first:
            ranks.broadcast(END)

    def mine(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches that this rank compares. It is done with one when it asks for the next."""
        if self.alone is not None:
            yield from batches if self._ranks.is_first else ()
            return
        wanted = 1 if self._ranks.is_first else self._claimed()
        for batch in batches:
            self._at = batch.number
            if self.alone is not None:
                yield batch
                continue
            digest = self._made[batch.number] = model_digests.of_batch((batch.inputs, batch.given))
            if batch.number == wanted:
                self._compared[batch.number] = digest
                yield batch
                if batch.number == 1:
                    self.alone = self._difference()
                    if self.alone is not None:
                        self._ranks.broadcast(END)
                wanted = self._claimed()
            self._at = batch.number + 1
            if wanted >= NONE_LEFT and self.alone is None:
                return

    def fail(self, failure: Failure) -> None:
        """Note that this rank has failed, at the batch that ``mine`` gave last or was about to give."""
        self._failure = self._at, failure
        self._ranks.end_claims(_BATCHES)

    def gather(self) -> Failure | None:
        """Put together in rank 0 what all ranks have measured.

        Returns the failure that one process would have met. Raises RankFailed for one that another rank
        alone has met, and InvalidTarget if the ranks have made different batches.
        """
        if not self._ranks.is_first:
            totals = self._evaluation.totals if self._evaluation.batches else None
            share = _Share(totals, self._compared, len(self._made), self._failure)
            self._ranks.send(share, 0)
            return None
        if self.alone is not None or 1 not in self._made or self._failed_at == 1:
            return self._failure and self._failure[1]
        shares: dict[int, _Share] = {each: self._ranks.receive(each) for each in self._ranks.others}
        failures = [self._failure, *(each.failure for each in shares.values())]
        if first := min(filter(None, failures), key=lambda each: each[0], default=None):
            return first[1]
        for rank, share in shares.items():
            self._check_batches(rank, share)
            if share.totals is not None:
                self._evaluation.update(share.totals)
        return None

    def _claimed(self) -> int:
        if not self._ranks.is_first and self._ranks.has_message(0):
            # Rank 0 works alone, or has failed.
            return NONE_LEFT
        # Rank 0 has the first batch.
        return 2 + self._ranks.claim(_BATCHES)

    def _difference(self) -> str | None:
        """Why the others cannot compare what rank 0 compares; None if they can."""
        if self._evaluation.verification.comparison != "merged":
            return "its ops cannot be compared as they run by themselves"
        for rank in self._ranks.others:
            theirs = self._ranks.receive(rank)
            for name, digest in self._model.items():
                if theirs.get(name) != digest:
                    return f"{name} is another one on rank {rank}"
        return None

    def _check_batches(self, rank: int, share: _Share) -> None:
        if share.made != len(self._made):
            counts = f"{len(self._made)} batches on rank 0 and {share.made} on rank {rank}"
            raise InvalidTarget(f"evaluation has {counts}: {_SAME}")
        for number, digest in share.compared.items():
            if digest != self._made[number]:
                raise InvalidTarget(
                    f"evaluation batch {number} is another one on rank {rank} than on rank 0: {_SAME}"
                )

    @property
    def _failed_at(self) -> int | None:
        return self._failure and self._failure[0]


_SAME = "seed what it draws, or run one process"
