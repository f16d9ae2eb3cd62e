"""Synthetic token ids of generated sessions, the same in training rows, in the simulator and in a replay."""

import zlib

import numpy as np
from numpy.typing import NDArray

from .model import Session

LOWEST_ID = 100
HIGHEST_ID = 32_000
END_ID = 2  # the last token of each output, at which the model stops

Ids = NDArray[np.int64]


def session_contexts(session: Session) -> list[list[int]]:
    """The context of each turn: token ids of at least its prompt and its output.

    Turns between two compactions share one list. Ids depend on the session's id and on its shared prefixes alone.
    """
    contexts: list[list[int]] = []
    for first, end in _spans(session):
        ids = _context(session, first, end, contexts[-1] if contexts else None)
        contexts += [ids] * (end - first)
    return contexts


def session_token_ids(session: Session) -> list[int]:
    """Ids of a session without compaction: each turn's new tokens, then its output."""
    return session_contexts(session)[-1]


def prompt_token_ids(session: Session, turn: int) -> list[int]:
    """Ids of a turn's prompt."""
    return session_contexts(session)[turn][: session.prompt_tokens(turn)]


def _spans(session: Session) -> list[tuple[int, int]]:
    """First and end of the turns of each context: a turn that keeps a part of the context begins another one."""
    firsts = [0, *(n for n, turn in enumerate(session.turns) if n and turn.kept_tokens is not None)]
    return list(zip(firsts, [*firsts[1:], len(session.turns)], strict=True))


def _context(session: Session, first: int, end: int, before: list[int] | None) -> list[int]:
    lengths = session.prompt_lengths()
    count = lengths[end - 1] + session.turns[end - 1].output_tokens
    ids = _stream(session.stream(first), count)
    if before is None:
        for prefix in reversed(session.shared):
            ids[: prefix.tokens] = _stream(prefix.stream, prefix.tokens)
            ids[[length - 1 for length in prefix.output_ends]] = END_ID
    else:
        kept = session.turns[first].kept_tokens or 0
        ids[:kept] = before[:kept]
    ids[[lengths[turn] + session.turns[turn].output_tokens - 1 for turn in range(first, end)]] = END_ID
    return ids.tolist()  # type: ignore[no-any-return]  # numpy's stubs


def _stream(name: str, count: int) -> Ids:
    """The first `count` ids of the stream of that name."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(LOWEST_ID, HIGHEST_ID, count)
