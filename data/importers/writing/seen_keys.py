"""Which keys have been seen, at eight bytes a key."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


class SeenKeys:
    """A set that only grows, as sorted runs of 64-bit hashes, each at least twice as long as the next.

    Two keys that share a hash are taken for one: below one chance in 100,000 for ten million keys.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, keys: Sequence[Hashable]) -> NDArray[np.bool_]:
        """Add the keys; shape (len(keys),): True for each that was there already, or earlier in `keys`."""
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
        seen = self.holds(hashes)
        distinct, first = np.unique(hashes, return_index=True)
        repeated = np.ones(len(hashes), np.bool_)
        repeated[first] = False
        new = distinct[~seen[first]]
        while self._runs and len(self._runs[-1]) < 2 * len(new):
            new = np.sort(np.concatenate((self._runs.pop(), new)))
        if len(new):
            self._runs.append(new)
        return seen | repeated

    def holds(self, hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
        found = np.zeros(len(hashes), np.bool_)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            found |= run[at] == hashes
        return found
