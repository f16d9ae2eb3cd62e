"""What is remembered of a session's last turn, so that its continuation is recognised."""

import hashlib
import struct
from dataclasses import dataclass
from typing import Self

from .prefix import DIGEST_BYTES, Prefix
from .resemblance import Sketch

MIN_OUTPUT_TOKENS = 4
"""A shorter output must match together with its stop token, for many messages begin with the same word."""
_END = struct.Struct("<i4s16s")
_HEAD = struct.Struct("<iH16s16siBBBB")


@dataclass(frozen=True, slots=True)
class End:
    """Where prompt and output end: a length, the head of its anchor (`Prefix.anchor`), and its digest."""

    length: int
    anchor_head: bytes
    digest: bytes

    @classmethod
    def of(cls, prefix: Prefix, length: int) -> Self:
        return cls(length, _head(prefix.anchor(length)), prefix.digest(length))

    def begins(self, prefix: Prefix) -> bool:
        """Whether these tokens begin the prompt; the anchors are compared first, for that is cheaper."""
        length = self.length
        return (
            length <= prefix.length
            and _head(prefix.anchor(length)) == self.anchor_head
            and prefix.digest(length) == self.digest
        )


@dataclass(frozen=True, slots=True)
class Past:
    """A session's last turn, as far as its continuation repeats it."""

    prompt_tokens: int
    rest: int  # tokens of the prompt beyond its last full block
    prompt_key: bytes  # of the tenant and the prompt, see `scoped`
    call_key: bytes  # of the tenant and the latest tool calls; empty if unknown
    anchor: bytes  # hash of the last full block within the prompt
    ends: tuple[End, ...]  # with the stop token and without
    sketch: Sketch

    def pack(self) -> bytes:
        """About 0.5 kB, which the garbage collector need not visit."""
        sketch = self.sketch
        call_key = self.call_key or bytes(DIGEST_BYTES)
        counts = len(self.ends), len(self.anchor), len(sketch.sample) // 4, len(sketch.tail) // 4
        head = _HEAD.pack(self.prompt_tokens, self.rest, self.prompt_key, call_key, sketch.tokens, *counts)
        ends = (_END.pack(end.length, end.anchor_head, end.digest) for end in self.ends)
        return b"".join((head, *ends, self.anchor, sketch.sample, sketch.tail))

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        prompt_tokens, rest, prompt_key, call_key, tokens, ends, anchor, sample, tail = _HEAD.unpack_from(packed)
        at = _HEAD.size + ends * _END.size
        middle = at + anchor
        return cls(
            prompt_tokens,
            rest,
            prompt_key,
            call_key if any(call_key) else b"",
            packed[at:middle],
            tuple(End(*end) for end in _END.iter_unpack(packed[_HEAD.size : at])),
            Sketch(tokens, packed[middle : middle + 4 * sample], packed[middle + 4 * sample :][: 4 * tail]),
        )


def past_of(prefix: Prefix, prompt_tokens: int, call_id: str | None, tenant: str | None, stopped: bool) -> Past:
    """The memory of an ended turn. `prefix` is of prompt and output; `stopped`: its last token is a stop token."""
    output_tokens = prefix.length - prompt_tokens
    ends = [prefix.length] if stopped or output_tokens >= MIN_OUTPUT_TOKENS else []
    if stopped and output_tokens > MIN_OUTPUT_TOKENS:
        ends.append(prefix.length - 1)  # a template may end messages with another token
    return Past(
        prompt_tokens=prompt_tokens,
        rest=prompt_tokens % prefix.block_tokens,
        prompt_key=scoped(tenant, prefix.digest(prompt_tokens)),
        call_key=b"" if call_id is None else scoped(tenant, call_id.encode("utf-8", "surrogatepass")),
        anchor=prefix.anchor(prompt_tokens),
        ends=tuple(End.of(prefix, length) for length in ends),
        sketch=Sketch.of(prefix.token_ids[prompt_tokens : prefix.length]),
    )


def scoped(tenant: str | None, key: bytes) -> bytes:
    """A key of 16 bytes that no other tenant has."""
    owner = b"" if tenant is None else b"t" + tenant.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(key, digest_size=DIGEST_BYTES, key=hashlib.blake2b(owner, digest_size=32).digest()).digest()


def _head(anchor: bytes) -> bytes:
    return anchor[:4].ljust(4, b"\0")
