"""Python's garbage collector in a worker."""

import gc

THRESHOLDS = (50_000, 20, 100)
"""By generation."""


def thrifty_gc() -> None:
    """A simulation allocates so fast that collecting all generations took a tenth of its time. vLLM's modules stay."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
