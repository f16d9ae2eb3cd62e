"""The built-in workload `mixed`: chat and coding agents on one engine.

Each coding session is followed by CHAT_SESSIONS sessions of the six-augmentation mix. A coding session takes that many
times as long as one of the mix, where pauses are capped at a minute: in a closed loop about half of the agents code and
half chat at any time. Without a cap people's pauses are longer, and more agents code. In an open loop the shares are
those of the sessions.
"""

import itertools
from collections.abc import Iterator

from ..augmentations import load_augmentations
from ..mix import augmentation_session
from ..model import Session, WorkloadError
from .sessions import coding_session
from .tables import load_kinds

MIXED = "mixed"  # its name in params.yaml and on the command line
CHAT_SESSIONS = 8


def mixed_sessions(count: int, seed: int) -> tuple[Session, ...]:
    """The first `count` sessions of `mixed_sequence`. Raises WorkloadError for a count that is not positive."""
    if count < 1:
        raise WorkloadError(f"{MIXED}: {count} sessions asked for; ask for 1 or more")
    return tuple(itertools.islice(mixed_sequence(seed), count))


def mixed_sequence(seed: int) -> Iterator[Session]:
    """Sessions of both kinds without end, which all arrive at 0. Each depends on the seed and its place alone."""
    coding, chat = load_kinds(), load_augmentations()
    for index in itertools.count():
        if index % (CHAT_SESSIONS + 1):
            yield augmentation_session(chat, seed, index)
        else:
            yield coding_session(coding, seed, index)
