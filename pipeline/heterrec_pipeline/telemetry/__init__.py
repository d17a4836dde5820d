"""What a build tells of itself while it runs: counters, times of stages, a trace, lines of JSON."""
