"""Read input files as Arrow batches: files and their splits, readers of formats, and the rows that a source describes."""
