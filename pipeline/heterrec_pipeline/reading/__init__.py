"""Files to Arrow batches: input files, their splits, and one reader per format."""
