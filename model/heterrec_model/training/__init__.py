"""The training loop and what surrounds it: run folders, checkpoints, logs, signals, several processes."""
