"""Keys of the feature tables: read, numbered, duplicates resolved."""
