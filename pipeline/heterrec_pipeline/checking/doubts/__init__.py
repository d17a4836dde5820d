"""What a sample suggests is lost or misread without an error: one warning each, with counts, examples and the way out."""
