"""Numbers of records, as floats."""

from typing import Any


def as_float(value: Any) -> float | None:
    """The number; None for whatever is no number, and for an integer beyond the floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
