"""Feature kinds, one module each: parse a raw column, fit, encode."""
