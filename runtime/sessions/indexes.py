"""Indexes of remembered turns whose entries the garbage collector need not visit: texts, bytes and numbers alone."""

from collections.abc import Iterator

from .prefix import Prefix


class SessionIndex:
    """Sessions by a key of bytes, oldest first; mostly one a key."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, str | tuple[str, ...]] = {}

    def __getitem__(self, key: bytes) -> tuple[str, ...]:
        """The sessions of a key; empty for an unknown one."""
        sessions = self._sessions.get(key, ())
        return (sessions,) if isinstance(sessions, str) else sessions

    def add(self, key: bytes, session_id: str) -> None:
        others = self[key]
        self._sessions[key] = (*others, session_id) if others else session_id

    def discard(self, key: bytes, session_id: str) -> None:
        others = tuple(other for other in self[key] if other != session_id)
        if len(others) > 1:
            self._sessions[key] = others
        elif others:
            self._sessions[key] = others[0]
        else:
            del self._sessions[key]


class PromptLengths:
    """The lengths of remembered prompts, by their anchor (`Prefix.anchor`) and the tokens beyond it."""

    def __init__(self) -> None:
        self._rests: dict[bytes, int] = {}  # bit n: there is a prompt with n tokens beyond the anchor
        self._more: dict[bytes, int] = {}  # how many prompts of one length there are, where there are several

    def add(self, anchor: bytes, rest: int) -> None:
        known = self._rests.get(anchor, 0)
        if known >> rest & 1:
            key = _key(anchor, rest)
            self._more[key] = self._more.get(key, 1) + 1
        self._rests[anchor] = known | 1 << rest

    def discard(self, anchor: bytes, rest: int) -> None:
        key = _key(anchor, rest)
        if (count := self._more.pop(key, 1)) > 1:
            if count > 2:
                self._more[key] = count - 1
        elif left := self._rests[anchor] & ~(1 << rest):
            self._rests[anchor] = left
        else:
            del self._rests[anchor]

    def within(self, prefix: Prefix) -> Iterator[int]:
        """Lengths of remembered prompts that may be proper prefixes of this one, longest first."""
        full = prefix.length // prefix.block_tokens
        for block in range(full, -1, -1):
            rests = self._rests.get(prefix.hashes[block - 1] if block else b"", 0)
            while rests:
                rest = rests.bit_length() - 1
                rests ^= 1 << rest
                length = block * prefix.block_tokens + rest
                if length < prefix.length:
                    yield length


def _key(anchor: bytes, rest: int) -> bytes:
    return anchor + rest.to_bytes(4)
