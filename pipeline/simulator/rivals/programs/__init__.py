"""Rivals that know which sessions and sub-agents belong together."""
