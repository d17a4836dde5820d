"""Builds on Dataflow: what a call needs, how the package gets to the workers, how a job is submitted and watched."""
