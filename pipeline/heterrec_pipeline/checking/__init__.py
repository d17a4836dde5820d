"""Checks of a spec against the data's schema and a sample, before anything is written."""
