"""The log: checked, joined with the item index, grouped by user, split, written."""
