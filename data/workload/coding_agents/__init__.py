"""Sessions of coding agents, drawn from figures of recorded ones."""
