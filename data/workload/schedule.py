"""Loads: sessions and the times at which they begin, for the simulator and for a live server."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .adjustments import Adjustments
from .arrivals import Arrivals, Poisson, Recorded, Swing, Times, covering_count, require_positive, session_count
from .copies import copied
from .mix import MIX, MIX_SWING, augmentation_sessions, steady_sessions
from .model import Session, WorkloadError
from .recorded.sessions import RecordedSession
from .steady_state import LEAD_S, under_way

SWING = Swing()
MIXES: Mapping[str, Arrivals] = {MIX: Poisson(), MIX_SWING: SWING}
"""The arrival process of each built-in workload. The swing begins at its trough."""


@dataclass(frozen=True, slots=True)
class Load:
    """Sessions to run, and their differences from the recording.

    Open loop: each session begins at its arrival. Closed loop: the first `agents` sessions begin at their arrivals, and
    each later one its `arrival_s` after a session ends, in their order.
    """

    sessions: tuple[Session, ...]
    adjustments: Adjustments = field(default_factory=Adjustments)
    agents: int | None = None  # None: open loop


def mix_load(arrivals: Arrivals, rate_per_s: float, duration_s: float, seed: int) -> Load:
    """The six-augmentation mix, steady from its start. A seed gives the same sessions for all processes and rates.

    Raises WorkloadError for a figure that is not positive.
    """
    if isinstance(arrivals, Poisson):
        session_count(LEAD_S + duration_s, rate_per_s)
        return Load(steady_sessions(duration_s, rate_per_s, seed))
    times = _generated_times(arrivals, rate_per_s, duration_s, seed)
    sessions = augmentation_sessions(covering_count(LEAD_S + duration_s, rate_per_s), rate_per_s, seed)
    placed = (
        dataclasses.replace(session, arrival_s=arrival_s)
        for session, arrival_s in zip(sessions, times.tolist(), strict=False)
    )
    return Load(under_way(placed, LEAD_S))


def trace_load(
    recorded: Sequence[RecordedSession],
    arrivals: Arrivals | Recorded,
    rate_per_s: float | None,
    duration_s: float | None,
    seed: int,
    adjustments: Adjustments | None = None,
) -> Load:
    """Recorded sessions at generated or recorded starts. `adjustments`: what reading them has changed.

    Generated: sessions are drawn at random, each once before any is drawn again; the load is steady from its start.
    `Recorded`: each session runs once; without a duration all of them, without a rate at their recorded starts.
    Only the starts of sessions are scaled, never times within a session. Raises WorkloadError.
    """
    adjustments = adjustments or Adjustments()
    if not recorded:
        raise WorkloadError("workload: no session is left to run; choose another set, split or a larger context")
    if isinstance(arrivals, Recorded):
        times = arrivals.times([session.start_s for session in recorded], rate_per_s)
        if duration_s is not None:
            require_positive("workload: duration, s,", duration_s)
            times = times[times < duration_s]
        return Load(tuple(_place(zip(recorded, times.tolist(), strict=False), set())), adjustments)
    if rate_per_s is None or duration_s is None:
        raise WorkloadError("workload: generated arrivals need a rate and a duration; give both")
    times = _generated_times(arrivals, rate_per_s, duration_s, seed)
    order = np.random.default_rng((seed, 1)).permutation(len(recorded))
    chosen = (recorded[order[index % len(recorded)]] for index in range(len(times)))
    repeats: set[str] = set()
    sessions = under_way(_place(zip(chosen, times.tolist(), strict=True), repeats), LEAD_S)
    repeated = sum(session.session_id in repeats for session in sessions)
    return Load(sessions, dataclasses.replace(adjustments, repeated_sessions=repeated))


def _generated_times(arrivals: Arrivals, rate_per_s: float, duration_s: float, seed: int) -> Times:
    """Arrivals from LEAD_S before the start to the end of the duration."""
    require_positive("workload: duration, s,", duration_s)
    end_s = LEAD_S + duration_s
    times = arrivals.times(covering_count(end_s, rate_per_s), rate_per_s, np.random.default_rng(seed))
    return times[times < end_s]


def _place(chosen: Iterable[tuple[RecordedSession, float]], repeats: set[str]) -> Iterator[Session]:
    """Each session at its start. A repeated session gets its own ids (and so tokens), added to `repeats`."""
    copies: dict[tuple[str, str], int] = {}
    for recorded, start_s in chosen:
        key = (recorded.source, recorded.session_id)
        copy = copies[key] = copies.get(key, -1) + 1
        session = copied(recorded.session, copy)
        if copy:
            repeats.add(session.session_id)
        yield dataclasses.replace(session, arrival_s=start_s)
