"""The bundle: everything that a service needs from a run, in files that need neither PyTorch nor Beam."""
