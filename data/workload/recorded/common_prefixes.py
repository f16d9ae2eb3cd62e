"""Prefixes that recorded sessions share, as far as an engine's prefix cache tells.

A recorder stores no prompts. But the first turn of a session finds in the cache only what other sessions began with,
such as a system prompt; and so does a later turn whose own context has been lost. Where several sessions find the same
number of tokens, they share so many.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ...tables.sessions import RecordedTurn
from ..model import SharedPrefix

LEAST_SESSIONS = 3
LEAST_SHARE = 0.02
"""Of a source's sessions: fewer have repeated a prompt of their own rather than share a prefix."""

SessionKey = tuple[str, str]


def common_prefixes(recorded: Sequence[Sequence[RecordedTurn]]) -> Mapping[SessionKey, SharedPrefix]:
    """By source and session id. Only of sessions that an engine of ours recorded, for other caches have other rules."""
    own = [turns for turns in recorded if turns[0].engine is not None]
    found = Counter((turns[0].source, turns[0].cached_tokens) for turns in own if turns[0].cached_tokens)
    sessions = Counter(turns[0].source for turns in own)
    lengths: dict[str, set[int]] = {}
    for (source, tokens), count in found.items():
        if tokens is not None and count >= max(LEAST_SESSIONS, LEAST_SHARE * sessions[source]):
            lengths.setdefault(source, set()).add(tokens)
    shared: dict[SessionKey, SharedPrefix] = {}
    for turns in own:
        first = turns[0]
        seen = {turn.cached_tokens for turn in turns if turn.cached_tokens is not None}
        if tokens := max(seen & lengths.get(first.source, set()), default=0):
            shared[first.source, first.session_id] = SharedPrefix(f"{first.source}:common:{tokens}", tokens)
    return shared
