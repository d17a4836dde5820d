"""The feature tables: keys, fits, tokens, item shards."""
