"""PySpark transforms without a JVM: Sail computes them, in a process of its own."""
