"""Read input files as Arrow batches: files, their splits, and one reader per format."""
