"""How a graph is run: Beam's options, engines, start and exit of a command."""
