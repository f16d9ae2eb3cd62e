"""Contexts of paused sessions: the policy, the pins, and their events."""
