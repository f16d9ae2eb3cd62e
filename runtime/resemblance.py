"""Whether a model's output is in a later prompt, though a chat template wrote it anew and its tokens differ."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

SKETCH = 32
TAIL_TOKENS = 48
MIN_GRAMS = 8
"""Of a shorter output too little would have to agree."""
_GRAM = 3


@dataclass(frozen=True, slots=True)
class Sketch:
    """An output's 3-grams, hashed: a sample of all (the lowest hashes), and all those of its end.

    The end counts by itself because templates leave out the reasoning at an output's beginning.
    """

    sample: bytes
    tail: bytes

    @classmethod
    def of(cls, output: Sequence[int]) -> Self:
        grams = np.unique(_grams(output))
        return cls(grams[:SKETCH].tobytes(), np.unique(_grams(output[-TAIL_TOKENS:])).tobytes())

    def share_in(self, grams: NDArray[np.uint32]) -> float:
        """How much of the output is found among these 3-grams (sorted), 0 to 1; 0 where the output is too short."""
        return max(_share(self.sample, grams), _share(self.tail, grams))


def grams_of(token_ids: Sequence[int]) -> NDArray[np.uint32]:
    """The distinct 3-grams of the tokens, hashed and sorted."""
    return np.unique(_grams(token_ids))


def _grams(token_ids: Sequence[int]) -> NDArray[np.uint32]:
    ids = np.frombuffer(array("q", token_ids), np.uint64)
    if len(ids) < _GRAM:
        return np.empty(0, np.uint32)
    mixed = ids[:-2] * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ ids[1:-1]) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (mixed ^ (mixed >> np.uint64(29)) ^ ids[2:]) * np.uint64(0x165667B19E3779F9)
    return (mixed >> np.uint64(32)).astype(np.uint32)


def _share(sketch: bytes, grams: NDArray[np.uint32]) -> float:
    wanted = np.frombuffer(sketch, np.uint32)
    if len(wanted) < MIN_GRAMS:
        return 0.0
    return float(np.isin(wanted, grams, assume_unique=True).mean())
