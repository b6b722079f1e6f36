"""From what was measured to what a person should look at. Plain data in, plain data out; no torch."""

from handlens.diagnosis.findings import diagnose

__all__ = ["diagnose"]
