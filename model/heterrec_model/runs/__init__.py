"""Storage of runs: folder, checkpoints, log, weights."""
