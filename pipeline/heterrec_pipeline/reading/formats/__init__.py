"""Readers of file formats: each gives the rows of a file as Arrow batches of bounded size."""
