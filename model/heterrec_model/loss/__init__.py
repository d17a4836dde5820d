"""Loss functions, negatives and candidates."""
