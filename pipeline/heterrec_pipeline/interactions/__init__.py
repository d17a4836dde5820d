"""The interaction log: read it, check its rows, join them with the item index."""
