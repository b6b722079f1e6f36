"""Runs reference and quantized graph together, and records statistics instead of tensors."""

from handlens.comparison.compared import Comparison
from handlens.comparison.merging import merge
from handlens.comparison.recorder import Measurements
from handlens.comparison.statistics import Statistics
from handlens.comparison.unmerged import outputs_alone

__all__ = ["Comparison", "Measurements", "Statistics", "merge", "outputs_alone"]
