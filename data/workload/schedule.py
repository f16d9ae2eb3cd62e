"""A load: which sessions of a workload begin when. What it gives drives the simulator and a live server alike."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .adjustments import Adjustments
from .arrivals import Arrivals, Poisson, Recorded, Swing, Times, covering_count, require_positive, session_count
from .mix import MIX, MIX_SWING, augmentation_sessions, steady_sessions
from .model import Session, WorkloadError
from .recorded import RecordedSession
from .steady_state import LEAD_S, under_way

SWING = Swing()
MIXES: Mapping[str, Arrivals] = {MIX: Poisson(), MIX_SWING: SWING}
"""The built-in workloads of the pipeline: one mix of sessions, and how they arrive. The swing begins at its trough."""


@dataclass(frozen=True, slots=True)
class Load:
    """Sessions to run, in no particular order, and what had to be changed for them."""

    sessions: tuple[Session, ...]
    adjustments: Adjustments = field(default_factory=Adjustments)


def mix_load(arrivals: Arrivals, rate_per_s: float, duration_s: float, seed: int) -> Load:
    """The six-augmentation mix, steady from its start. Another process or rate gives the same sessions at other times.

    Raises WorkloadError or ArrivalError for a figure that is not positive.
    """
    if isinstance(arrivals, Poisson):
        session_count(LEAD_S + duration_s, rate_per_s)
        return Load(steady_sessions(duration_s, rate_per_s, seed))
    times = _generated_times(arrivals, rate_per_s, duration_s, seed)
    sessions = augmentation_sessions(covering_count(LEAD_S + duration_s, rate_per_s), rate_per_s, seed)
    placed = (dataclasses.replace(session, arrival_s=at) for session, at in zip(sessions, times.tolist(), strict=False))
    return Load(under_way(placed, LEAD_S))


def trace_load(
    recorded: Sequence[RecordedSession],
    arrivals: Arrivals | Recorded,
    rate_per_s: float | None,
    duration_s: float | None,
    seed: int,
) -> Load:
    """Recorded sessions at generated arrivals: drawn without repeats until all have been, steady from the start; or,
    with `Recorded`, each once at its recorded start (all of them without a duration, stretched without a rate by 1).

    Only the sessions' starts are scaled, never what happens within one. Raises WorkloadError or ArrivalError.
    """
    if not recorded:
        raise WorkloadError("workload: no session is left to run; choose another set, split or a larger context")
    if isinstance(arrivals, Recorded):
        times = arrivals.times([session.start_s for session in recorded], rate_per_s)
        if duration_s is not None:
            require_positive("workload: duration, s,", duration_s)
            times = times[times < duration_s]
        return Load(tuple(_place(zip(recorded, times.tolist(), strict=False), set())))
    if rate_per_s is None or duration_s is None:
        raise WorkloadError("workload: generated arrivals need a rate and a duration; give both")
    times = _generated_times(arrivals, rate_per_s, duration_s, seed)
    order = np.random.default_rng((seed, 1)).permutation(len(recorded))
    chosen = (recorded[order[index % len(recorded)]] for index in range(len(times)))
    repeats: set[str] = set()
    sessions = under_way(_place(zip(chosen, times.tolist(), strict=True), repeats), LEAD_S)
    return Load(sessions, Adjustments(repeated_sessions=sum(session.session_id in repeats for session in sessions)))


def _generated_times(arrivals: Arrivals, rate_per_s: float, duration_s: float, seed: int) -> Times:
    """Arrivals from LEAD_S before the start to the end of the duration."""
    require_positive("workload: duration, s,", duration_s)
    end_s = LEAD_S + duration_s
    times = arrivals.times(covering_count(end_s, rate_per_s), rate_per_s, np.random.default_rng(seed))
    return times[times < end_s]


def _place(chosen: Iterable[tuple[RecordedSession, float]], repeats: set[str]) -> Iterator[Session]:
    """Each session's pieces at its time. A session that is run again gets an id, and so tokens, of its own; these ids
    are added to `repeats`."""
    copies: dict[tuple[str, str], int] = {}
    for session, at_s in chosen:
        key = (session.source, session.session_id)
        copy = copies[key] = copies.get(key, -1) + 1
        for piece in session.pieces:
            name = f"{piece.session_id}~{copy}" if copy else piece.session_id
            if copy:
                repeats.add(name)
            yield dataclasses.replace(piece, session_id=name, arrival_s=at_s + piece.arrival_s)
