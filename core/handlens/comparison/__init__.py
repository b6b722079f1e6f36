"""Run reference and quantized graph together, and keep statistics instead of tensors."""

from handlens.comparison.graph import Comparison, merge, outputs_alone
from handlens.comparison.recorder import Measurements
from handlens.comparison.statistics import Statistics

__all__ = ["Comparison", "Measurements", "Statistics", "merge", "outputs_alone"]
