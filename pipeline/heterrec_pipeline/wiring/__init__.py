"""Building blocks of the Beam graph: steps, exchanges between steps, and what steps report."""
