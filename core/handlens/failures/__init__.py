"""Explains a run that fails: on which line, in which op, why, and which recipes work instead."""
