"""The built-in workloads that closed loops run, each an endless sequence of sessions."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, count

from .adjustments import Adjustments
from .closed_loop import closed_load
from .mix import MIX, augmentation_sessions
from .model import Session, WorkloadError
from .schedule import Load
from .trace_set import fit_context

BATCH = 200
BATCH_SEED_STEP = 10_000_000
"""Between the seeds of two batches: more than between any two uses or runs."""
SEQUENCES: Mapping[str, Callable[[int, int], Sequence[Session]]] = {
    MIX: lambda number, seed: augmentation_sessions(number, 1.0, seed),
}
"""Workload → a function from a number of sessions and a seed to so many sessions."""


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
    sessions, adjustments = built_in_sequence(workload, seed), Adjustments()
    if context_tokens is not None:
        fit = partial(fit_context, context_tokens=context_tokens, adjustments=adjustments)
        sessions = chain.from_iterable(fit((session,)) for session in sessions)
    load = closed_load(sessions, agents, duration_s, seed, pause_cap_s)
    return dataclasses.replace(load, adjustments=adjustments)


def built_in_sequence(workload: str, seed: int) -> Iterator[Session]:
    """The sessions of a built-in workload. Raises WorkloadError where it has no closed loop."""
    if workload not in SEQUENCES:
        raise WorkloadError(f"workload {workload!r}: no closed loop runs it; choose from {', '.join(SEQUENCES)}")
    for batch in count():
        yield from SEQUENCES[workload](BATCH, seed + batch * BATCH_SEED_STEP)
