"""Finds the session that a turn continues where its caller names none.

A turn continues a session if its prompt begins with the whole prompt of the session's last turn and then has that
turn's output: to the token, or nearly so where a chat template has rewritten it. A shorter common prefix, such as a
shared system prompt, links nothing; equal prompts are distinguished by their outputs. Where the client or the template
has changed the past, tool-call ids link, if they are random and belong to the latest call of one session only.

The first turn that continues a finished turn is linked to it; a second one (a branch) becomes a session of its own.
Sessions whose prompts and outputs are equal to the token are distinguished by ids alone; without ids, the one that
finished first is continued first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from .indexes import PromptLengths, SessionIndex
from .past import Past, scoped
from .prefix import Prefix
from .resemblance import Following

By = Literal["call_id", "prefix"]
MIN_SHARE = 0.9
"""Least share of a rewritten output that must occur in the prompt."""
MARGIN = 0.05
"""Least lead of its share over that of any other session."""
MAX_EQUALS = 256
"""Sessions with the same prompt; beyond this number the oldest is no longer recognised by its prompt."""
MAX_LENGTHS = 256
"""Lengths at which an arriving prompt is compared with remembered ones, longest first."""
MAX_COMPARED = 16
"""Remembered prompts whose outputs are searched after an arriving prompt's beginning."""
MAX_SESSIONS = 512
"""Sessions with these prompts; those of the last prompt may be more."""
MAX_SEARCHED = 1 << 16
"""Tokens in which their outputs are searched."""


@dataclass(frozen=True, slots=True)
class Link:
    session_id: str
    by: By


class TurnLinker:
    """The last turns of the live sessions, about 1 kB each. SessionTable decides when a session is forgotten.

    An arrival takes at most a few milliseconds, whatever is remembered.
    """

    def __init__(self) -> None:
        self._pasts: dict[str, bytes] = {}  # packed
        self._continued: dict[str, bytes] = {}  # continued by a turn that has not finished
        self._by_call = SessionIndex()
        self._by_prompt = SessionIndex()
        self._lengths = PromptLengths()

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
        before = None if finished else self._continued.get(session_id)
        self.forget(session_id)
        self._add(session_id, past if before is None else Past.unpack(before))

    def forget(self, session_id: str) -> None:
        self._continued.pop(session_id, None)
        if session_id in self._pasts:
            self._remove(session_id)

    def _by_call_ids(self, call_ids: Sequence[str | None], tenant: str | None) -> Link | None:
        for call_id in call_ids:
            if call_id is not None:
                sessions = self._by_call[scoped(tenant, call_id.encode("utf-8", "surrogatepass"))]
                if len(sessions) == 1:
                    return Link(sessions[0], "call_id")
        return None

    def _by_prefix(self, prefix: Prefix, tenant: str | None) -> Link | None:
        compared, candidates, searched = MAX_COMPARED, MAX_SESSIONS, MAX_SEARCHED
        for length in islice(self._lengths.within(prefix), MAX_LENGTHS):
            sessions = self._by_prompt[scoped(tenant, prefix.digest(length))]
            if not sessions:
                continue
            pasts = [Past.unpack(self._pasts[session_id]) for session_id in sessions]
            for session_id, past in zip(sessions, pasts, strict=True):
                if any(end.begins(prefix) for end in past.ends):
                    return Link(session_id, "prefix")
            window = max(past.sketch.window for past in pasts)
            following = prefix.token_ids[length : min(prefix.length, length + window, length + searched)]
            if (match := _match(pasts, following)) is not None:
                return Link(sessions[match], "prefix")
            compared, candidates, searched = compared - 1, candidates - len(pasts), searched - len(following)
            if min(compared, candidates, searched) <= 0:
                break
        return None

    def _add(self, session_id: str, past: Past) -> None:
        equals = self._by_prompt[past.prompt_key]
        if len(equals) >= MAX_EQUALS:
            self._remove(equals[0])
        self._pasts[session_id] = past.pack()
        self._by_prompt.add(past.prompt_key, session_id)
        self._lengths.add(past.anchor, past.rest)
        if past.call_key:
            self._by_call.add(past.call_key, session_id)

    def _remove(self, session_id: str) -> bytes:
        packed = self._pasts.pop(session_id)
        past = Past.unpack(packed)
        self._by_prompt.discard(past.prompt_key, session_id)
        self._lengths.discard(past.anchor, past.rest)
        if past.call_key:
            self._by_call.discard(past.call_key, session_id)
        return packed


def _match(pasts: Sequence[Past], following: Sequence[int]) -> int | None:
    """The turn of one prompt whose output the tokens after the prompt repeat, by its place in `pasts`."""
    shares = Following(following).shares([past.sketch for past in pasts])
    best = int(shares.argmax())
    second = max(float(share) for place, share in enumerate(shares) if place != best) if len(shares) > 1 else 0.0
    return best if shares[best] >= MIN_SHARE and shares[best] - second >= MARGIN else None
