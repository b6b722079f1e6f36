"""The comparison of the two graphs on evaluation batches, and what comes of all batches together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handlens.capture.export import Captured
from handlens.capture.places import Places
from handlens.comparison import Comparison, merge
from handlens.comparison.compared import Outputs
from handlens.comparison.objectives import Objectives, OutputAgreement
from handlens.comparison.progress import ProgressTeller
from handlens.failures.inquiry import Inquiry
from handlens.loading.inputs import cloned
from handlens.loading.subject import Batch, Subject
from handlens.recipes import Quantized
from handlens.report import NonFinite, Verification
from handlens.request import Progress
from handlens.verification import verify


class Evaluation:
    """What was measured on some of the evaluation batches. That of others can be added.

    The batch with the number 1 verifies the comparison.
    """

    verification: Verification
    by_model: str
    """The digest of what the model itself gave for the first batch; empty if it failed."""

    def __init__(
        self,
        captured: Captured,
        subject: Subject,
        quantized: Quantized,
        places: Places,
        inquiry: Inquiry,
        on_progress: Callable[[Progress], None],
    ) -> None:
        """``on_progress`` is told how far the comparison of a batch is."""
        self._teller = ProgressTeller(on_progress)
        self._captured, self._subject, self._quantized = captured, subject, quantized
        self._places, self._inquiry = places, inquiry
        self._comparison: Comparison | None = None
        self._non_finite: tuple[int, NonFinite] | None = None
        self.agreement = OutputAgreement(Objectives(captured, subject))
        self.batches = 0
        """How many batches there were so far, those of others included."""

    @property
    def comparison(self) -> Comparison:
        if self._comparison is None:
            self._comparison = merge(self._quantized.reference, self._quantized.actual)
        return self._comparison

    @property
    def non_finite(self) -> NonFinite | None:
        """Where the float model begins to give NaN or Inf, on the first batch where that matters."""
        return None if self._non_finite is None else self._non_finite[1]

    def compare(self, batch: Batch) -> Outputs:
        """Compare on a batch. Returns the outputs of both models. Raises whatever the graphs raise."""
        inputs = batch.inputs
        self._teller.batch = batch.number
        if batch.number == 1:
            verified = verify(
                self._captured,
                self._subject,
                self._quantized,
                inputs,
                self._places,
                self._teller.watch,
            )
            self._comparison, self.verification = verified.comparison, verified.verification
            self.by_model = verified.by_model
            outputs, before = verified.outputs, 0
        else:
            before = self.comparison.not_finite
            self.comparison.batches = batch.number - 1
            # The model may change its inputs.
            args, kwargs = cloned(inputs)
            outputs = self.comparison.run(args, kwargs)
        if self._non_finite is None and self.comparison.not_finite > before:
            found = self._inquiry.non_finite(inputs, f"evaluation batch {batch.number}")
            self._non_finite = None if found is None else (batch.number, found)
        self.batches += 1
        return outputs

    @property
    def totals(self) -> tuple[Any, ...]:
        """What was measured so far, to be pooled by ``update`` in another process."""
        agreement = self.agreement.totals
        return self.comparison.totals, agreement, self._non_finite, self.batches

    def update(self, totals: tuple[Any, ...]) -> None:
        """Pool what was measured on other batches."""
        compared, agreement, non_finite, batches = totals
        self.comparison.update(compared)
        self.agreement.update(agreement)
        found = [each for each in (self._non_finite, non_finite) if each is not None]
        self._non_finite = min(found, key=lambda each: each[0], default=None)
        self.batches += batches
