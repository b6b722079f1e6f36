"""Makes torchvision and timm importable beside a torch for CPUs, from the folder that they are kept in.

torchvision's wheel is built for CUDA. Its compiled ops do not load beside another torch, and importing it
raises, as it gives two of them a second implementation. Its models need none of these ops: it is enough
that the two are defined.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

FOLDER = Path(__file__).parents[2] / "build/architectures"
"""Where ``make architectures`` installs them: in the environment of the tests, transformers would import
torchvision, which raises without what is done here."""

_LIBRARY = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
for _name in ("nms", "qnms"):
    _LIBRARY.define(  # type: ignore[no-untyped-call]
        f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    )
sys.path.append(str(FOLDER))
