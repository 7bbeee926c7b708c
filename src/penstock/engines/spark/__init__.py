"""The Spark engine: splits travel to tasks, pieces come back, the driver commits. pyspark is imported nowhere else."""
