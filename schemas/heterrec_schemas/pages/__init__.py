"""Pages to look at: one HTML file with its pictures, without scripts and requests; needs matplotlib (extra `report`)."""
