"""The models that advice is measured on. This module imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.workloads import Workload

COUNTS = (1, 3, 5, 8)
"""The numbers of units after which the methods are compared."""

_REPORTS = "tests/core/reports"
_ALL = tuple(
    Workload(f"{name}-{recipe}", title, target, file, recipe)
    for name, title, target, file, recipes in (
        ("tiny-cnn", "tiny CNN", "handlens_tiny", "examples/tiny_cnn.py", ("x86", "xnnpack")),
        (
            "digits",
            "digits with loud channels",
            "handlens_digits",
            "examples/digits.py",
            ("x86", "xnnpack"),
        ),
        (
            "boxes",
            "boxes beside scores (cat)",
            "handlens_phone",
            f"{_REPORTS}/boxes_and_scores.py",
            ("xnnpack",),
        ),
        (
            "residual",
            "residual stream with a loud channel",
            "handlens_phone",
            f"{_REPORTS}/vit_residual.py",
            ("xnnpack",),
        ),
        (
            "branches",
            "quiet beside loud branch (cat)",
            "handlens_phone",
            f"{_REPORTS}/shared_observer.py",
            ("xnnpack",),
        ),
        (
            "transposed",
            "transposed convolution",
            "handlens_phone",
            f"{_REPORTS}/transposed_convolution.py",
            ("xnnpack",),
        ),
        (
            "bert",
            "BERT",
            "handlens_bert",
            "benchmarks/architectures/language.py",
            ("x86", "xnnpack"),
        ),
        (
            "transformer",
            "transformer block",
            "handlens_encoder",
            "examples/transformer_block.py",
            ("x86", "xnnpack"),
        ),
        ("vit", "ViT, trained", "handlens_vit", "benchmarks/trained.py", ("x86", "xnnpack")),
        (
            "mobilenet-v3",
            "MobileNetV3-small, trained",
            "handlens_mobilenet_v3",
            "benchmarks/trained.py",
            ("x86", "xnnpack"),
        ),
        (
            "efficientnet",
            "EfficientNet-Lite0",
            "handlens_imagenet",
            "examples/efficientnet_lite.py",
            ("x86", "xnnpack"),
        ),
    )
    for recipe in recipes
)
SUBJECTS = {workload.name: workload for workload in _ALL}


def own(argument: str) -> Workload:
    """The subject of an argument ``FILE::TARGET@RECIPE``."""
    place, _, recipe = argument.partition("@")
    file, _, target = place.partition("::")
    return Workload(argument, Path(place).name, target, os.path.abspath(file), recipe)
