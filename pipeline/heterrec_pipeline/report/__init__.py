"""The report of a generation: one page with pictures, from its statistics."""
