"""From what was measured to what a person should look at. Plain data in, plain data out; no torch."""

from handlens.diagnosis.judging import judge
from handlens.diagnosis.noise_floor import floor_sqnr_db

__all__ = ["floor_sqnr_db", "judge"]
