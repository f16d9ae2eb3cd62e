"""Observers of a simulation: they see events and change nothing."""
