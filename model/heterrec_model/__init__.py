"""HeterRec in PyTorch: trains from a generation, evaluates over the full catalogue, recommends."""
