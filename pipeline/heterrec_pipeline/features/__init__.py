"""One module a feature kind: parse a raw column, fit, encode."""
