"""What a feature is: a name, a unit and a meaning."""

import zlib
from dataclasses import dataclass

VERSION = 1
"""Changes with any change of a feature's name, order or meaning; a bundle made with another version is refused."""


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    unit: str
    meaning: str


def bucket(text: str, buckets: int) -> int:
    """Stable hash of `text` into `buckets` (CRC-32: the same in every process, unlike `hash`)."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % buckets


def bucket_features(prefix: str, buckets: int, meaning: str) -> tuple[Feature, ...]:
    """One feature a bucket, named `prefix_0` …"""
    return tuple(Feature(f"{prefix}_{index}", "0 or 1", f"{meaning}, hash bucket {index}") for index in range(buckets))
