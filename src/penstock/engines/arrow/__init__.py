"""The arrow engine: threads, bounded queues and DuckDB in this process."""

from penstock.engines.arrow.engine import ArrowEngine

__all__ = ["ArrowEngine"]
