"""Finds the session that a turn continues where its caller names none.

A turn continues a session if its prompt begins with the whole prompt of the session's last turn and then has that
turn's output: to the token, or nearly so where a chat template has rewritten it. A shorter common prefix, such as a
shared system prompt, links nothing; equal prompts are distinguished by their outputs. Where the client or the template
has changed the past, tool-call ids link, if they are random and belong to the latest call of one session only.

The first turn that continues a finished turn is linked to it; a second one (a branch) becomes a session of its own.
Sessions whose prompts and outputs are equal to the token are distinguished by ids alone; without ids, the one that
finished first is continued first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from .prefix import Prefix
from .resemblance import Sketch

By = Literal["call_id", "prefix"]
Key = TypeVar("Key", bytes, str)
MIN_OUTPUT_TOKENS = 4
"""A shorter output must match together with its stop token, for many messages begin with the same word."""
MIN_SHARE = 0.9
"""Least share of a rewritten output that must occur in the prompt."""
MARGIN = 0.05
"""Least lead of its share over that of any other session."""
MAX_EQUALS = 256
"""Sessions with the same prompt; beyond this number the oldest is no longer recognised by its prompt."""


@dataclass(frozen=True, slots=True)
class Past:
    """A session's last turn, as far as its continuation repeats it."""

    prompt_tokens: int
    prompt_digest: bytes
    anchor: bytes  # hash of the last full block within the prompt
    ends: tuple[tuple[int, bytes], ...]  # length and digest of prompt and output, with the stop token and without
    sketch: Sketch
    call_id: str | None
    tenant: str | None


@dataclass(frozen=True, slots=True)
class Link:
    session_id: str
    by: By


def past_of(prefix: Prefix, prompt_tokens: int, call_id: str | None, tenant: str | None, stopped: bool) -> Past:
    """The memory of an ended turn. `prefix` is of prompt and output; `stopped`: its last token is a stop token."""
    output_tokens = prefix.length - prompt_tokens
    ends = [prefix.length] if stopped or output_tokens >= MIN_OUTPUT_TOKENS else []
    if stopped and output_tokens > MIN_OUTPUT_TOKENS:
        ends.append(prefix.length - 1)  # a template may end messages with another token
    return Past(
        prompt_tokens=prompt_tokens,
        prompt_digest=prefix.digest(prompt_tokens),
        anchor=prefix.anchor(prompt_tokens),
        ends=tuple((length, prefix.digest(length)) for length in ends),
        sketch=Sketch.of(prefix.token_ids[prompt_tokens : prefix.length]),
        call_id=call_id,
        tenant=tenant,
    )


@dataclass(slots=True)
class TurnLinker:
    """The last turns of the live sessions. SessionTable decides when a session is forgotten."""

    _pasts: dict[str, Past] = field(default_factory=dict)
    _continued: dict[str, Past] = field(default_factory=dict)  # continued by a turn that has not finished
    _by_call: dict[str, list[str]] = field(default_factory=dict)
    _by_prompt: dict[bytes, list[str]] = field(default_factory=dict)  # oldest first
    _lengths: dict[bytes, dict[int, int]] = field(default_factory=dict)  # by anchor: prompt lengths, how many of each

    def __len__(self) -> int:
        return len(self._pasts) + len(self._continued)

    def link(self, prefix: Prefix | None, call_ids: Sequence[str | None], tenant: str | None) -> Link | None:
        """The session that an arriving turn continues. `prefix` is of the prompt; `call_ids` are of its latest tool
        calls and of those before."""
        link = self._by_call_ids(call_ids, tenant)
        if link is None and prefix is not None:
            link = self._by_prefix(prefix, tenant)
        if link is not None:
            self._continued[link.session_id] = self._remove(link.session_id)
        return link

    def turn_ended(self, session_id: str, past: Past, finished: bool) -> None:
        """The session's next turn will continue this one, if it finished. If it was aborted, the session's last
        finished turn may be continued again, or this one where there is none: a client may stop a turn and go on."""
        continued = past if finished else self._continued.get(session_id, past)
        self.forget(session_id)
        self._add(session_id, continued)

    def forget(self, session_id: str) -> None:
        self._continued.pop(session_id, None)
        if session_id in self._pasts:
            self._remove(session_id)

    def _by_call_ids(self, call_ids: Sequence[str | None], tenant: str | None) -> Link | None:
        for call_id in call_ids:
            sessions = self._by_call.get(call_id, ()) if call_id is not None else ()
            if len(sessions) == 1 and self._pasts[sessions[0]].tenant == tenant:
                return Link(sessions[0], "call_id")
        return None

    def _by_prefix(self, prefix: Prefix, tenant: str | None) -> Link | None:
        for length in self._prompt_lengths(prefix):
            candidates = [
                session_id
                for session_id in self._by_prompt.get(prefix.digest(length), ())
                if self._pasts[session_id].tenant == tenant
            ]
            session_id = self._match(prefix, length, candidates) if candidates else None
            if session_id is not None:
                return Link(session_id, "prefix")
        return None

    def _prompt_lengths(self, prefix: Prefix) -> Iterator[int]:
        """Lengths of remembered prompts that may be proper prefixes of this one, longest first."""
        lengths = self._lengths
        hashes = prefix.hashes[: prefix.length // prefix.block_tokens]
        for anchor in (*reversed(hashes), b""):
            if anchor in lengths:
                yield from sorted((length for length in lengths[anchor] if length < prefix.length), reverse=True)

    def _match(self, prefix: Prefix, length: int, candidates: Sequence[str]) -> str | None:
        """Of the sessions whose last prompt is the first `length` tokens, the one whose output follows."""
        for session_id in candidates:
            ends = self._pasts[session_id].ends
            if any(end <= prefix.length and prefix.digest(end) == digest for end, digest in ends):
                return session_id
        sketches = {session_id: self._pasts[session_id].sketch for session_id in candidates}
        window = max(sketch.window for sketch in sketches.values())
        following = prefix.token_ids[length : min(prefix.length, length + window)]
        shares = sorted(((sketch.share_in(following), name) for name, sketch in sketches.items()), reverse=True)
        best, session_id = shares[0]
        second = shares[1][0] if len(shares) > 1 else 0.0
        return session_id if best >= MIN_SHARE and best - second >= MARGIN else None

    def _add(self, session_id: str, past: Past) -> None:
        equals = self._by_prompt.setdefault(past.prompt_digest, [])
        if len(equals) >= MAX_EQUALS:
            self._remove(equals[0])
            equals = self._by_prompt.setdefault(past.prompt_digest, [])
        equals.append(session_id)
        self._pasts[session_id] = past
        lengths = self._lengths.setdefault(past.anchor, {})
        lengths[past.prompt_tokens] = lengths.get(past.prompt_tokens, 0) + 1
        if past.call_id is not None:
            self._by_call.setdefault(past.call_id, []).append(session_id)

    def _remove(self, session_id: str) -> Past:
        past = self._pasts.pop(session_id)
        _discard(self._by_prompt, past.prompt_digest, session_id)
        lengths = self._lengths[past.anchor]
        lengths[past.prompt_tokens] -= 1
        if not lengths[past.prompt_tokens]:
            del lengths[past.prompt_tokens]
        if not lengths:
            del self._lengths[past.anchor]
        if past.call_id is not None:
            _discard(self._by_call, past.call_id, session_id)
        return past


def _discard(index: dict[Key, list[str]], key: Key, session_id: str) -> None:
    index[key].remove(session_id)
    if not index[key]:
        del index[key]
