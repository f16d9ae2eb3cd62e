"""Prepares each step: its token budget, room for admissions, and the order of preemption."""
