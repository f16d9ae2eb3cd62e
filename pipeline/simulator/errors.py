"""Errors of the simulator."""


class SimulationError(ValueError):
    """A simulation cannot run as requested; the message names the thing, the cause and the remedy."""
