"""Building blocks of the Beam graph: steps, exchanges between steps, reports of steps."""
