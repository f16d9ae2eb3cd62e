"""Exporters of recorded sessions to formats that other harnesses replay."""
