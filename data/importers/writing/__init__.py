"""Writes the rows of an import: checked, and streamed into the three tables."""
