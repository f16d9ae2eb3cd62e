"""Which session a turn continues, where its caller does not say.

A turn continues a session if its prompt begins with the whole prompt of the session's last turn and goes on with that
turn's output, to the token or, where a chat template wrote the output anew, nearly so. A prefix that ends before the
old prompt does, such as a shared system prompt, links nothing; equal prompts are told apart by their outputs. Ids of
tool calls link where the client or the template has changed the past, if they are random and the latest of one session.

Each finished turn is continued once, by the first that does: a branch (the same past continued twice) becomes a session
of its own. Sessions whose prompts and outputs are equal to the token are told apart by nothing but ids; the first
that finished is continued first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from .prefix import Prefix
from .resemblance import Sketch

By = Literal["call_id", "prefix"]
Key = TypeVar("Key", bytes, str)
MIN_OUTPUT_TOKENS = 4
"""An output this short has to be there with the token that stopped it: anything may begin with the same word."""
MIN_SHARE = 0.9
"""Of a rewritten output that has to be found."""
MARGIN = 0.05
"""By how much a rewritten output has to be found better than any other session's."""
MAX_EQUALS = 256
"""Sessions of the same prompt to the token; beyond so many, the oldest is no longer recognised by it."""


@dataclass(frozen=True, slots=True)
class Past:
    """A session's last turn, as its continuation will show it."""

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
    """What to remember of a turn that has ended. `prefix` is of prompt and output; `stopped`: its last token did
    nothing but end it."""
    output_tokens = prefix.length - prompt_tokens
    ends = [prefix.length] if stopped or output_tokens >= MIN_OUTPUT_TOKENS else []
    if stopped and output_tokens > MIN_OUTPUT_TOKENS:
        ends.append(prefix.length - 1)  # a template may end its messages with another token
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
    """The last turns of the sessions that wait for their next. Sessions are forgotten by their table, not here."""

    _pasts: dict[str, Past] = field(default_factory=dict)
    _taken: dict[str, Past] = field(default_factory=dict)  # continued by a turn that has not finished
    _by_call: dict[str, list[str]] = field(default_factory=dict)
    _by_prompt: dict[bytes, list[str]] = field(default_factory=dict)  # oldest first
    _lengths: dict[bytes, dict[int, int]] = field(default_factory=dict)  # by anchor: prompt lengths, how many of each

    def __len__(self) -> int:
        return len(self._pasts) + len(self._taken)

    def link(self, prefix: Prefix | None, call_ids: Sequence[str | None], tenant: str | None) -> Link | None:
        """The session that an arriving turn continues; it then waits for that turn. `prefix` is of the prompt;
        `call_ids` stand for its latest tool calls and for those before."""
        link = self._by_call_ids(call_ids, tenant)
        if link is None and prefix is not None:
            link = self._by_prefix(prefix, tenant)
        if link is not None:
            self._taken[link.session_id] = self._remove(link.session_id)
        return link

    def turn_finished(self, session_id: str, past: Past) -> None:
        """The session waits for what continues this turn."""
        self.forget(session_id)
        self._add(session_id, past)

    def turn_failed(self, session_id: str, past: Past) -> None:
        """A turn was broken off: the session's last one may be continued again. Where there is none, this one may:
        its client may well have stopped it and go on."""
        before = self._taken.get(session_id, past)
        self.forget(session_id)
        self._add(session_id, before)

    def forget(self, session_id: str) -> None:
        self._taken.pop(session_id, None)
        if session_id in self._pasts:
            self._remove(session_id)

    def _by_call_ids(self, call_ids: Sequence[str | None], tenant: str | None) -> Link | None:
        for call_id in call_ids:
            found = self._by_call.get(call_id, ()) if call_id is not None else ()
            if len(found) == 1 and self._pasts[found[0]].tenant == tenant:
                return Link(found[0], "call_id")
        return None

    def _by_prefix(self, prefix: Prefix, tenant: str | None) -> Link | None:
        for length in self._prompt_lengths(prefix):
            found = [
                session_id
                for session_id in self._by_prompt.get(prefix.digest(length), ())
                if self._pasts[session_id].tenant == tenant
            ]
            session_id = self._continued(prefix, length, found) if found else None
            if session_id is not None:
                return Link(session_id, "prefix")
        return None

    def _prompt_lengths(self, prefix: Prefix) -> Iterator[int]:
        """Lengths below the prefix's own of prompts that may be prefixes of it, the longest first."""
        lengths = self._lengths
        hashes = prefix.hashes[: prefix.length // prefix.block_tokens]
        for anchor in (*reversed(hashes), b""):
            if anchor in lengths:
                yield from sorted((length for length in lengths[anchor] if length < prefix.length), reverse=True)

    def _continued(self, prefix: Prefix, length: int, found: Sequence[str]) -> str | None:
        """Of sessions whose last prompts are the first `length` tokens: the one whose output follows."""
        for session_id in found:
            ends = self._pasts[session_id].ends
            if any(end <= prefix.length and prefix.digest(end) == digest for end, digest in ends):
                return session_id
        sketches = {session_id: self._pasts[session_id].sketch for session_id in found}
        following = prefix.token_ids[
            length : min(prefix.length, length + max(each.window for each in sketches.values()))
        ]
        shares = sorted(((sketch.share_in(following), each) for each, sketch in sketches.items()), reverse=True)
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
