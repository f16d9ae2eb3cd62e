"""Identities of what prompts share at their beginning."""

import hashlib
from array import array
from collections.abc import Sequence

_DIGITS = 16


def block_prefix_id(scope: str, hashes: Sequence[int]) -> str:
    """The name of blocks with these hashes; equal hashes mean equal blocks within one `scope` only."""
    return f"{scope}:{hashlib.sha256(array('q', hashes).tobytes()).hexdigest()[:_DIGITS]}"


def text_prefix_id(text: str) -> str:
    """The name of a text, the same wherever it occurs."""
    return f"text:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:_DIGITS]}"
