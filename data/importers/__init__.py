"""Traces of other formats, turned into rows of the three tables: one module a format, all streaming."""
