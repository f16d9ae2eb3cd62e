"""Which sessions are learned from and which are served when tuning, selecting and reporting: one rule on a hash.

What is hashed is a session's split group, or its id where it has none: sessions that hold the same records (the same
conversation, the same repository) are of one group and so never on two sides.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

Part = Literal["train", "validation", "test"]
Use = Literal["train", "tune", "select", "report"]
MIN_GROUPS = 3  # one a part


class SplitError(ValueError):
    """Sessions cannot be split as asked; the message names what is too few and the remedy."""


def position(group: str, salt: str = "") -> float:
    """Where a group falls in [0, 1): the same at any time, in any process, whatever other groups there are."""
    digest = hashlib.sha256(f"{salt}{group}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8]) >> 11) / (1 << 53)


def assign_parts(groups: Iterable[str], validation_share: float, test_share: float) -> dict[str, Part]:
    """The part of each group: test below `test_share`, validation in the share above it, train beyond.

    The shares hold on average, not to the group: so a group keeps its part as a set grows. Only where a part would
    be empty (a handful of groups) does it take its nearest. Raises SplitError for fewer than three groups.
    """
    ordered = sorted(set(groups), key=lambda group: (position(group), group))
    count = len(ordered)
    if count < MIN_GROUPS:
        raise SplitError(f"{count} groups of sessions: at least {MIN_GROUPS} are needed, one a part; gather more")
    tests = _within(sum(position(group) < test_share for group in ordered), 1, count - 2)
    below = sum(position(group) < test_share + validation_share for group in ordered)
    validations = _within(below - tests, 1, count - tests - 1)
    return {
        group: "test" if index < tests else "validation" if index < tests + validations else "train"
        for index, group in enumerate(ordered)
    }


def assign_uses(groups: Iterable[str], validation_share: float, test_share: float) -> dict[str, Use]:
    """What each group may serve for: what has trained or stopped a predictor for `train` alone; of the test
    part half for reporting, the rest for tuning and for selecting among what was tuned. A use may be left without a
    group. Raises SplitError as `assign_parts`."""
    parts = assign_parts(groups, validation_share, test_share)
    return {group: "train" if part != "test" else held_out_use(group) for group, part in parts.items()}


def held_out_use(group: str) -> Use:
    at = position(group, "tune or report: ")
    return "tune" if at < 0.3 else "select" if at < 0.5 else "report"


def _within(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
