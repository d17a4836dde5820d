"""The page of a run: one HTML file with pictures; needs matplotlib (extra `report`)."""
