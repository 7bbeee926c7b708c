"""Engines: what moves batches and executes frames."""
