"""Observing a build: one recorder per process, and the outputs derived from it (progress, stages, trace, JSON log)."""
