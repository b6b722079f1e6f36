"""Finds the changes to a quantized model that win accuracy back, by measuring them."""

from handlens.advising.advisor import advise

__all__ = ["advise"]
