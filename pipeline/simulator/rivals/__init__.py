"""Scheduling policies to compare with. None of them is deployed."""
