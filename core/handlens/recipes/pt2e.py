"""Post-training quantization with a torchao quantizer: prepare, calibrate, convert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch.fx import GraphModule
from torchao.quantization.pt2e import allow_exported_model_train_eval
from torchao.quantization.pt2e.quantizer import ComposableQuantizer, Quantizer
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer

from handlens.capture.export import Captured
from handlens.capture.handles import handle_of
from handlens.capture.nodes import graph_modules, is_dequantize, op_name
from handlens.comparison.memory import state_restored
from handlens.loading.inputs import cloned
from handlens.loading.subject import Subject
from handlens.numeric_debugger.pt2e import convert_pt2e, prepare_pt2e
from handlens.recipes.adjusting import adjustments
from handlens.recipes.adjusting_annotations import adjust, possible
from handlens.recipes.calibrating import calibrate
from handlens.recipes.entries import kept_handles
from handlens.recipes.folding import every_batch_norm
from handlens.recipes.histograms import quick_histograms
from handlens.recipes.keeping import Keeping
from handlens.recipes.late_compiling import late_compiling
from handlens.recipes.leftovers import Annotated, left_by, quantized_by
from handlens.recipes.observing import by_place
from handlens.recipes.pt2e_switching import Pt2eSwitch
from handlens.recipes.range_search import quick_range_search
from handlens.recipes.recipe import CalibrationFailed, Quantized, float_module, without_observers
from handlens.recipes.source_functions import hide_gru_layers, write_source_functions
from handlens.report import Thresholds


@dataclass(frozen=True)
class Pt2eRecipe:
    """Quantizes with a torchao quantizer."""

    name: str
    make_quantizer: Callable[[], Quantizer]
    claims: tuple[str, ...] = ()
    """Names of the ops that the quantizer is known for, such as ``conv2d``."""
    thresholds: Thresholds = field(default_factory=Thresholds)

    def quantize(self, captured: Captured, subject: Subject) -> Quantized:
        """Prepare, calibrate and convert. Raises CalibrationFailed, and whatever the quantizer raises."""
        with late_compiling(), quick_histograms(), quick_range_search():
            return self._quantize(captured, subject)

    def _quantize(self, captured: Captured, subject: Subject) -> Quantized:
        kept = kept_handles(captured, subject.keep_float)
        quantizer = self.make_quantizer()
        makers = quantizer.quantizers if isinstance(quantizer, ComposableQuantizer) else [quantizer]
        model = float_module(captured)
        for graph_module in graph_modules(model):
            hide_gru_layers(graph_module)
            if any(isinstance(each, X86InductorQuantizer) for each in makers):
                write_source_functions(graph_module)
        wanted = adjustments(captured, subject)
        keeping = Keeping(quantizer, captured, kept, partial(adjust, wanted, self.name))
        with every_batch_norm():
            prepared = prepare_pt2e(model, keeping)
        reference = without_observers(prepared)
        allow_exported_model_train_eval(prepared)
        # Calibration changes buffers, and so does conversion: it runs the nodes that it takes for constant.
        with torch.no_grad(), state_restored(prepared):
            seen = calibrate(
                prepared,
                captured.program,
                subject.calibration,
                partial(_run_batches, prepared, subject),
            )
            observed = by_place(prepared, seen)
            actual = convert_pt2e(prepared)
        annotated = Annotated(keeping.annotated, keeping.fused, type(quantizer).__name__)
        in_float, expected = left_by(annotated, self.name, self.claims, kept, reference, actual)
        return Quantized(
            reference,
            actual,
            self._unquantized(actual, kept),
            in_float=in_float,
            expected=expected,
            quantized_by=tuple(map(quantized_by, makers)),
            observed=observed,
            alternatives=possible(keeping.result.graph),
            switch=lambda: Pt2eSwitch(
                keeping.result, reference, actual, subject.calibration_inputs, keeping.survivor
            ),
        )

    def _unquantized(self, actual: GraphModule, kept: frozenset[int]) -> tuple[str, ...]:
        """The kinds of op that the recipe claims, that the graph has, and of which none is quantized."""
        there: set[str] = set()
        quantized: set[str] = set()
        for node in actual.graph.nodes:
            name = op_name(node)
            if name in self.claims and handle_of(node) not in kept:
                there.add(name)
                if any(is_dequantize(each) for each in node.all_input_nodes):
                    quantized.add(name)
        return tuple(sorted(there - quantized))


def _run_batches(prepared: GraphModule, subject: Subject) -> None:
    for batch, inputs in enumerate(subject.calibration_inputs(), 1):
        # The model may change its inputs, and a failure is explained with the inputs as they were given.
        args, kwargs = cloned(inputs)
        try:
            prepared(*args, **kwargs)
        except Exception as error:
            raise CalibrationFailed(error, batch, inputs) from error


def compose(recipes: list[Pt2eRecipe]) -> Pt2eRecipe:
    """A recipe that quantizes with all of ``recipes``. Two of them that quantize one op fail in prepare."""

    def make_quantizer() -> Quantizer:
        return ComposableQuantizer([each.make_quantizer() for each in recipes])

    claims = tuple(dict.fromkeys(claim for each in recipes for claim in each.claims))
    name = "+".join(each.name for each in recipes)
    # The thresholds of the coarsest number format hold for all.
    thresholds = min((each.thresholds for each in recipes), key=lambda each: each.warning_db)
    return Pt2eRecipe(name, make_quantizer, claims, thresholds)
