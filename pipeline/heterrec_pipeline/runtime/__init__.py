"""Engines and options: how a graph is run."""
