"""From a model to an exported program whose operations have debug handles and spans of source text."""
