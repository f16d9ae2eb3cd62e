"""Synthetic token ids of generated sessions, the same in training rows, in the simulator and in a replay."""

import zlib

import numpy as np

from .model import Session

LOWEST_ID = 100
HIGHEST_ID = 32_000
END_ID = 2  # the last token of each output, at which the model stops


def session_token_ids(session: Session) -> list[int]:
    """Ids of the whole session: each turn's new tokens, then its output. They depend on the session's id alone."""
    last = len(session.turns) - 1
    count = session.prompt_tokens(last) + session.turns[last].output_tokens
    random = np.random.default_rng(zlib.crc32(session.session_id.encode()))
    ids: list[int] = random.integers(LOWEST_ID, HIGHEST_ID, count).tolist()
    for index, turn in enumerate(session.turns):
        ids[session.prompt_tokens(index) + turn.output_tokens - 1] = END_ID
    return ids


def prompt_token_ids(session: Session, turn: int) -> list[int]:
    """Ids of a turn's prompt. The next turn's prompt begins with them and with this turn's output."""
    return session_token_ids(session)[: session.prompt_tokens(turn)]
