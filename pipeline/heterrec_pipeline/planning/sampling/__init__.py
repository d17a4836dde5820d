"""What of a table is read, and what can be said of the rest."""
