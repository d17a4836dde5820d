"""The HTTP service of a bundle."""
