"""Statistics of a generation for its report, measured while it is built."""
