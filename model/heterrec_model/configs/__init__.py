"""Configurations that come with the package: `paper`, `cpu`, `gpu`."""
