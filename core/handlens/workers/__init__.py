"""The processes that run models: their client, the worker, its forked runs, and what they say."""
