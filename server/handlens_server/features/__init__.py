"""The LSP features, one module each: they read the server's state, render it, and return."""
