"""The Handlens language server. It never imports torch: only a worker process runs user code."""
