"""The texts of the open files, and what is read from and written into them."""
