"""Reads the files of an import: archives, lines, and the problems in them."""
