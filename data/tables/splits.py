"""Splits sessions into parts to train on, to tune on and to report on, by a hash.

The hash is that of a session's split group, or of its id where it has none. Sessions that hold the same records (the
same conversation, the same repository) share a split group and so a part.
"""

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

Part = Literal["train", "validation", "test"]
Use = Literal["train", "tune", "select", "report"]
MIN_GROUPS = 3  # one a part

SPLIT_SEEDS: Mapping[Use, int] = MappingProxyType(
    {"train": 1_000_000, "tune": 2_000_000, "report": 3_000_000, "select": 4_000_000}
)
"""Offsets to `base.seed` for generated sessions: each use draws sessions of its own."""


class SplitError(ValueError):
    """There are too few sessions to split; the message names the remedy."""


def position(group: str, salt: str = "") -> float:
    """The group's place in [0, 1), by SHA-256: it depends on nothing but the two texts."""
    digest = hashlib.sha256(f"{salt}{group}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8]) >> 11) / (1 << 53)


def assign_parts(groups: Iterable[str], validation_share: float, test_share: float) -> dict[str, Part]:
    """The part of each group: test below `test_share`, validation in the share above it, train beyond.

    The shares hold on average only, so that a group keeps its part as a set grows. In a set of a few groups a part that
    would be empty gets the group nearest to it. Raises SplitError for fewer than three groups.
    """
    ordered = sorted(set(groups), key=lambda group: (position(group), group))
    count = len(ordered)
    if count < MIN_GROUPS:
        raise SplitError(f"{count} groups of sessions: at least {MIN_GROUPS} are needed, one a part; gather more")
    tests = _clamp(sum(position(group) < test_share for group in ordered), 1, count - 2)
    below = sum(position(group) < test_share + validation_share for group in ordered)
    validations = _clamp(below - tests, 1, count - tests - 1)
    return {
        group: "test" if index < tests else "validation" if index < tests + validations else "train"
        for index, group in enumerate(ordered)
    }


def assign_uses(groups: Iterable[str], validation_share: float, test_share: float) -> dict[str, Use]:
    """The use of each group: `train` for the parts train and validation, `held_out_use` for the part test.

    A use may have no group. Raises SplitError as `assign_parts`.
    """
    parts = assign_parts(groups, validation_share, test_share)
    return {group: held_out_use(group) if part == "test" else "train" for group, part in parts.items()}


def held_out_use(group: str) -> Use:
    """Of the part test, 30 % tune, 20 % select among tuned settings, and 50 % report."""
    place = position(group, "tune or report: ")
    return "tune" if place < 0.3 else "select" if place < 0.5 else "report"


def _clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
