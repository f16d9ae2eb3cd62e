"""The DVC stages, one module a stage, and the simulator that they share."""
