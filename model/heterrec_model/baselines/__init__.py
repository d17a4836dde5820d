"""Baselines on the same loader and evaluation as HeterRec; each is one file here and one line in `registry.MODELS`."""
