"""Sequences: users' histories, their splits, and the shards that hold them."""
