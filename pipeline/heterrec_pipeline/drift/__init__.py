"""Drift: how the tokens, vocabularies and rows of a refresh differ from those of its parent, and whether it is too much."""
