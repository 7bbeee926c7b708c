"""The arrow engine: threads, bounded queues and DuckDB in this process."""



__all__ = ["ArrowEngine"]
