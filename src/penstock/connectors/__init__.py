"""One folder per system; the same file names everywhere."""
