"""What is told of a run that fails: on which line, in which op, why, and what works instead."""
