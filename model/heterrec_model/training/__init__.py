"""The training loop, its optimiser, log and console output, and distribution over processes."""
