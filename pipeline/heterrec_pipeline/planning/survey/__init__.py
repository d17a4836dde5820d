"""What the tables and the log hold, as far as they were read."""
