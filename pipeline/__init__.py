"""The DVC stages, a package or a module of its name each, and the simulator that they share."""
