"""Files to Arrow batches: the list of input files, their splits, and a reader a format."""
