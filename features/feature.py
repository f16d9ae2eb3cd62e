"""Features: named, with a unit and a meaning; and hashed one-hot features."""

import zlib
from dataclasses import dataclass
from functools import lru_cache

VERSION = 3
"""Raise it with any change of a feature's name, order or meaning. Bundles of another version are refused."""


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    unit: str
    meaning: str


@lru_cache(maxsize=4096)
def bucket(text: str, buckets: int) -> int:
    """Stable hash of `text` into `buckets` (CRC-32: the same in every process, unlike `hash`)."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % buckets


def bucket_features(prefix: str, buckets: int, meaning: str, unit: str = "0 or 1") -> tuple[Feature, ...]:
    """One feature per bucket, named `prefix_0`, `prefix_1` and so on."""
    return tuple(Feature(f"{prefix}_{index}", unit, f"{meaning}, hash bucket {index}") for index in range(buckets))
