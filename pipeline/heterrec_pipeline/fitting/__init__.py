"""Fit the features of a table: vocabularies, boundaries and quantizers."""
