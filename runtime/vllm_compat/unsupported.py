"""Which vLLM is supported, and what is said of one that is not."""

SUPPORTED = ((0, 29), (0, 33))
"""Versions of vLLM from the first, below the second."""
OVERRIDE = "allow_unknown_vllm"
"""Key of the deployment with which an operator takes on what is not known."""


class UnsupportedVllmError(ValueError):
    """This vLLM is not one that AugServe knows; the message names what differs."""


def supported_text() -> str:
    low, high = (".".join(map(str, bound)) for bound in SUPPORTED)
    return f"vLLM {low} up to below {high}"
