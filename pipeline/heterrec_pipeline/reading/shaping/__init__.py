"""The rows of a source between the format readers and the pipeline: partitions, nested data, SQL."""
