"""Estimates the resources and results of a build from a sample, which is built into a temporary folder."""
