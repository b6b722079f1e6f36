"""What the runs found, and where that is in the texts of now."""
