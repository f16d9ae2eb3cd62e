"""What was predicted of a session's last turn, kept until the outcome."""

import struct
from collections.abc import Sequence
from typing import NamedTuple, Self

_NUMBERS = struct.Struct("<q?qq12d")


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

    def pack(self) -> bytes:
        """One object, which the garbage collector need not visit."""
        key = (False, 0) if self.tool.key is None else (True, self.tool.key)
        numbers = *self.output.forest, *self.output.blended, *self.pause.forest, *self.pause.blended
        return _NUMBERS.pack(self.turn, *key, self.tool.row, *numbers)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        turn, is_known, key, row, *numbers = _NUMBERS.unpack(packed)
        tool = Tool(key if is_known else None, row)
        return cls(turn, tool, Answer(numbers[:3], numbers[3:6]), Answer(numbers[6:9], numbers[9:]))
