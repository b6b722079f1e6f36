"""The LSP features, one module each. A feature reads the state, renders it, and answers the client."""
