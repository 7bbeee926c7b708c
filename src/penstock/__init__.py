"""Penstock moves, governs and derives tables: one declarative project, nothing lost, nothing doubled."""

__version__ = "0.1.0"
