"""Importers of traces in other formats: one module or package a format, all streaming."""
