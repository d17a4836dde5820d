"""Dataflow: checks and defaults of its options, and the package for its workers."""
