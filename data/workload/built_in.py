"""The built-in workloads that closed loops run, each an endless sequence of sessions."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count

from .adjustments import Adjustments
from .augmentations import load_augmentations
from .closed_loop import closed_load
from .coding_agents.mixed import MIXED, mixed_sequence
from .coding_agents.sessions import CODING_AGENTS, coding_sequence
from .mix import MIX, augmentation_session
from .model import Session, WorkloadError
from .schedule import Load
from .trace_set import fit_context


def mix_sequence(seed: int) -> Iterator[Session]:
    """Sessions of the six-augmentation mix without end, which all arrive at 0."""
    kinds = load_augmentations()
    return (augmentation_session(kinds, seed, index) for index in count())


SEQUENCES: Mapping[str, Callable[[int], Iterator[Session]]] = {
    CODING_AGENTS: coding_sequence,
    MIXED: mixed_sequence,
    MIX: mix_sequence,
}
"""Workload → a function from a seed to sessions without end."""
MOST_LEFT_OUT = 1000
"""Sessions one after another that exceed a context."""


def built_in_load(
    workload: str,
    agents: int,
    duration_s: float,
    seed: int,
    context_tokens: int | None = None,
    pause_cap_s: float | None = None,
) -> Load:
    """A closed loop over a built-in workload, its sessions cut to the context of a model.

    Raises WorkloadError for a workload that has no closed loop, and as `closed_load`.
    """
    if workload not in SEQUENCES:
        raise WorkloadError(f"workload {workload!r}: no closed loop runs it; choose from {', '.join(SEQUENCES)}")
    sessions, adjustments = SEQUENCES[workload](seed), Adjustments()
    if context_tokens is not None:
        sessions = _fitting(sessions, context_tokens, adjustments)
    return closed_load(sessions, agents, duration_s, seed, pause_cap_s, adjustments)


def _fitting(sessions: Iterator[Session], context_tokens: int, adjustments: Adjustments) -> Iterator[Session]:
    """The sessions, cut to the context. Raises WorkloadError where it is too small for all of them."""
    left_out = 0
    for session in sessions:
        fitted = fit_context((session,), context_tokens, adjustments)
        yield from fitted
        left_out = 0 if fitted else left_out + 1
        if left_out == MOST_LEFT_OUT:
            raise WorkloadError(
                f"workload: the first turns of {left_out} sessions one after another exceed the context of "
                f"{context_tokens} tokens; choose a model with a larger context"
            )
