"""What was predicted of a session's last turn, kept until the outcome as one object, which the garbage collector need
not visit."""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

_TURN = struct.Struct("<q?qq")
_NUMBERS = struct.Struct("<12d")


class Tool(NamedTuple):
    """The last tool called before the turn."""

    key: int | None  # its `call_key`
    row: int  # in the tables


class Answer(NamedTuple):
    """p10, p50 and p90 of a quantity."""

    forest: Sequence[float]
    blended: Sequence[float]  # with the tables, before the correction


class Predicted(NamedTuple):
    turn: int
    tool: Tool
    output: Answer  # tokens
    pause: Answer  # s

    @staticmethod
    def pack(turn: int, tool: Tool, numbers: bytes) -> bytes:
        """`numbers`: one of `number_rows`."""
        key = (False, 0) if tool.key is None else (True, tool.key)
        return _TURN.pack(turn, *key, tool.row) + numbers

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        turn, is_known, key, row = _TURN.unpack_from(packed)
        numbers = _NUMBERS.unpack_from(packed, _TURN.size)
        tool = Tool(key if is_known else None, row)
        return cls(turn, tool, Answer(numbers[:3], numbers[3:6]), Answer(numbers[6:9], numbers[9:]))


def number_rows(*quantiles: NDArray[np.float32]) -> Iterator[bytes]:
    """Of each turn the quantiles, each of shape (n, 3): of the output by forest and blended, then of the pause."""
    numbers = np.concatenate(quantiles, axis=1, dtype=np.float64).astype("<f8").tobytes()
    return (numbers[start : start + _NUMBERS.size] for start in range(0, len(numbers), _NUMBERS.size))
