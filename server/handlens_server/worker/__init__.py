"""The worker process as the server sees it: which interpreter, and one live worker in each."""
