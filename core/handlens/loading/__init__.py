"""From the text of a file to a model and its batches. Only this package imports the user's code."""
