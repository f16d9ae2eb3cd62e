"""Turns, tool calls and steps, recorded as traces."""
