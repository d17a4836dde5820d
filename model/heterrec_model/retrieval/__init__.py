"""The best items for user vectors: exact search, the index, searches with few allowed items."""
