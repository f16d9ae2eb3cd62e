"""What a simulation refuses."""


class SimulationError(ValueError):
    """A simulation cannot be run as asked; the message names thing, cause and remedy."""
