"""Names that metrics are made of. Importing them needs no numpy."""

THIRDS = ("short", "middle", "long")
"""Of the session length."""
BY_KIND = "attainment_of_"
"""Prefix of the SLO attainment of one kind of session."""
