"""Importer of Claude Code session files."""
