"""The workloads: a model with its inputs, a recipe, and the measurements that apply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from handlens.targets import Target, discover

ROOT = Path(__file__).parents[1]
TARGETS = "benchmarks/targets.py"
MEASURES = ("alone", "together", "overhead", "stages", "quantize", "batches", "whole")
"""The names of the measurements in ``rows``."""


@dataclass(frozen=True)
class Workload:
    """A model and a recipe: one line of the tables."""

    name: str
    title: str
    """Its name in prose; ×16 is a batch of sixteen."""
    target: str
    file: str = TARGETS
    recipe: str = "x86"
    measures: tuple[str, ...] = ("alone", "together", "stages")
    """The measurements of ``MEASURES`` that apply."""

    def find(self) -> Target:
        """The target that this workload runs."""
        file = str(ROOT / self.file)
        found = discover(Path(file).read_text("utf-8"), file)
        return next(each for each in found if each.name == self.target)


_ALL = (
    Workload("tiny-cnn", "tiny CNN ×4", "handlens_tiny", "examples/tiny_cnn.py"),
    Workload(
        "efficientnet-1",
        "EfficientNet-Lite0 ×1",
        "handlens_efficientnet",
        measures=("alone", "together", "stages", "quantize"),
    ),
    Workload("efficientnet-16", "EfficientNet-Lite0 ×16", "handlens_efficientnet_16"),
    Workload("resnet18-1", "ResNet-18 ×1", "handlens_resnet18"),
    Workload("resnet18-16", "ResNet-18 ×16", "handlens_resnet18_16"),
    Workload("bert", "BERT", "handlens_bert"),
    Workload("bert-bf16", "BERT, recipe bf16", "handlens_bert", recipe="bf16"),
    Workload(
        "bert-int8-weight",
        "BERT, recipe int8-weight-only",
        "handlens_bert",
        recipe="int8-weight-only",
    ),
    Workload(
        "bert-no-mask",
        "BERT without attention mask",
        "handlens_bert_without_mask",
        measures=("alone", "together"),
    ),
    Workload("vit", "ViT-S/16", "handlens_vit"),
    Workload(
        "mobilevit",
        "MobileViT-S",
        "handlens_mobilevit",
        measures=("alone", "together", "stages", "quantize"),
    ),
    Workload(
        "vanishing-mobilevit",
        "MobileViT-S, activations that vanish",
        "handlens_vanishing_mobilevit",
        measures=("quantize",),
    ),
    *(
        Workload(
            f"qwen2-{short}",
            f"Qwen2, 0.5 B, recipe {recipe}",
            "handlens_qwen2",
            recipe=recipe,
            measures=("alone", "together", "whole"),
        )
        for short, recipe in (
            ("bf16", "bf16"),
            ("int8", "int8-weight-only"),
            ("int4", "int4-weight-only"),
        )
    ),
    Workload(
        "late-norm",
        "six layers, batch norm after the activation",
        "handlens_late_norm",
        measures=("alone", "together", "stages", "quantize"),
    ),
    Workload("10000-nodes", "10,000 tiny ops", "handlens_many_ops", measures=("overhead",)),
    Workload(
        "efficientnet-4", "EfficientNet-Lite0 ×4", "handlens_efficientnet_4", measures=("batches",)
    ),
)
WORKLOADS = {workload.name: workload for workload in _ALL}
