"""From a model to an exported program: its operations have debug handles, and spans of source text."""
