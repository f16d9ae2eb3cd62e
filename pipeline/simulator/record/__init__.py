"""Records of a simulation: turns, metrics, traces and timelines."""
