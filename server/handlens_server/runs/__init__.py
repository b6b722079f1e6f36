"""When models are run, and what becomes of the results."""
