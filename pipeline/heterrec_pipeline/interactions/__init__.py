"""The interaction log: read, check, join with the item index."""
