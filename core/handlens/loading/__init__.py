"""From the text of a file to a model and its batches. Only here is the user's code imported."""
