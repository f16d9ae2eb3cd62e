"""The identity of a prompt's beginning, from the hashes of its blocks."""

import hashlib
from array import array
from collections.abc import Sequence


def prefix_id(scope: str, hashes: Sequence[int]) -> str:
    """The name of blocks with these hashes; equal hashes mean equal blocks within one `scope` only."""
    return f"{scope}:{hashlib.sha256(array('q', hashes).tobytes()).hexdigest()[:16]}"
