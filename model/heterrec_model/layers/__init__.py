"""Layers of the models: token embeddings, attention blocks, item tower."""
