"""Cells of an evaluation: a policy on an engine under a load, cached and run in parallel."""
