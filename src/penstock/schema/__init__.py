"""Types, names, and how the shape of a table may change."""
