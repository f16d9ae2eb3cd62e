"""A set of keys at eight bytes a key."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


class SeenKeys:
    """A growing set: sorted runs of 64-bit hashes, each at least twice as long as the next.

    Two keys with the same hash count as one key: below one chance in 100,000 for ten million keys.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, keys: Sequence[Hashable]) -> NDArray[np.bool_]:
        """Add the keys; shape (len(keys),): True for each that is in the set already, or earlier in `keys`."""
        hashes = _hashes(keys)
        distinct, first = np.unique(hashes, return_index=True)
        seen = np.ones(len(hashes), np.bool_)
        seen[first] = self._contains(distinct)
        new = distinct[~seen[first]]
        while self._runs and len(self._runs[-1]) < 2 * len(new):
            new = np.sort(np.concatenate((self._runs.pop(), new)))
        if len(new):
            self._runs.append(new)
        return seen

    def contains(self, keys: Sequence[Hashable]) -> NDArray[np.bool_]:
        """Shape (len(keys),): True for each key that is in the set."""
        return self._contains(_hashes(keys))

    def _contains(self, hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
        seen = np.zeros(len(hashes), np.bool_)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            seen |= run[places] == hashes
        return seen


def _hashes(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, keys), np.int64, len(keys))
