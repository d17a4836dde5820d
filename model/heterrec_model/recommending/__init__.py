"""Recommendations from vectors: histories, filters, popular items for users without a history."""
