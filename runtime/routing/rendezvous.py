"""Rendezvous hashing: each key has its own order of the engines, so a lost engine moves its own keys alone.

Thaler and Ravishankar, Using name-based mappings to increase hit rates, 1998.
"""

import hashlib
from collections.abc import Iterable


def rendezvous(key: bytes, ranks: Iterable[int]) -> int:
    """The first of the live ranks in the key's order. Raises ValueError without a rank."""
    return max(ranks, key=lambda rank: hashlib.blake2b(key + rank.to_bytes(4, "little"), digest_size=8).digest())
