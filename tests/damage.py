"""Damage to JSON that keeps its structure, for tests of whatever reads what others wrote."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

EXTREMES = (
    *(None, True, False, 0, -1, 1, 1 << 31, 1 << 63, -(1 << 63), 1 << 64, 10**400, -(10**400)),
    *(0.5, -0.0, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
    *("", "0", "-1", "1e999", "\ud800", "\0", "é" * 300, "../x", "2026-02-07T01:00:00Z"),
    *([], {}, [[]], [None], [0], {"": None}, [{}] * 40),
)
_LEAVES = st.sampled_from(EXTREMES) | st.integers() | st.floats() | st.text(max_size=20)
_KEYS = st.text(max_size=5)
VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4))


@st.composite
def damaged(draw: st.DrawFn, sound: Any, most: int = 3) -> Any:
    """A copy of a JSON value in which some parts are replaced, removed, doubled or moved."""
    value = [copy.deepcopy(sound)]
    for _ in range(draw(st.integers(1, most))):
        owner, key = draw(st.sampled_from(list(_places(value))))
        kind = draw(st.sampled_from(("replace", "replace", "remove", "double", "move")))
        if kind == "replace" or owner is value:
            owner[key] = copy.deepcopy(draw(VALUES))
        elif kind == "remove":
            del owner[key]
        elif kind == "move":
            other, place = draw(st.sampled_from(list(_places(value))))
            owner[key] = copy.deepcopy(other[place])
        elif isinstance(owner, list):
            owner.insert(key, copy.deepcopy(owner[key]))
        else:
            owner[draw(_KEYS)] = owner[key]
    return value[0]


def _places(owner: Any) -> Iterator[tuple[Any, Any]]:
    """Each list or object inside, with each of its indices or keys."""
    keys = list(owner) if isinstance(owner, dict) else range(len(owner))
    for key in keys:
        yield owner, key
        if isinstance(owner[key], list | dict):
            yield from _places(owner[key])
