"""Traces and workloads: the tables of a trace, sessions to run, and importers of other formats."""
