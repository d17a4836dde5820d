"""Recommendations for all users of a bundle, as Parquet shards."""
