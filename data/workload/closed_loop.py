"""Closed loops: N agents at once. Each begins its next session when the last one ends; N is the load."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..tables.schema import LONGEST_PAUSE_S
from .adjustments import Adjustments
from .arrivals import require_positive
from .copies import copied
from .model import Session, Turn, WorkloadError
from .recorded.sessions import RecordedSession
from .schedule import Load
from .steady_state import entered

RAMP_S = 60.0
"""The agents begin one after the other within this time, at most START_GAP_S apart."""
START_GAP_S = 1.0
LEAST_TOKEN_S = 0.001
"""No engine decodes a token of one request in less."""


def closed_load(
    sessions: Iterable[Session],
    agents: int,
    duration_s: float,
    seed: int,
    pause_cap_s: float | None = None,
    adjustments: Adjustments | None = None,
) -> Load:
    """The first sessions of an endless sequence, as many as `agents` agents can need in `duration_s`.

    The first session of each agent enters in its middle, at a turn drawn by `seed`. Pauses are cut to `pause_cap_s`.
    `adjustments`: what making the sessions changes.
    Raises WorkloadError for a number of agents, a duration or a cap that is not positive.
    """
    if agents < 1:
        raise WorkloadError(f"workload: {agents} agents asked for; ask for 1 or more")
    require_positive("workload: duration, s,", duration_s)
    if pause_cap_s is not None and not 0 <= pause_cap_s <= LONGEST_PAUSE_S:
        raise WorkloadError(f"workload: a pause cap of {pause_cap_s} s; give 0 to {LONGEST_PAUSE_S:.0f}")
    random = np.random.default_rng((seed, 2))
    chosen: list[Session] = []
    needed_s = agents * duration_s
    for number, whole in enumerate(sessions):
        session = whole if pause_cap_s is None else with_capped_pauses(whole, pause_cap_s)
        start_s = 0.0
        if number < agents:
            session = entered(session, int(random.integers(0, max(len(session.turns) - 1, 1))))
            start_s = number * min(START_GAP_S, RAMP_S / agents)
        chosen.append(dataclasses.replace(session, arrival_s=start_s))
        needed_s -= least_s(session)
        if number + 1 >= agents and needed_s <= 0:
            return Load(tuple(chosen), adjustments or Adjustments(), agents)
    raise WorkloadError(f"workload: {len(chosen)} sessions are too few for {agents} agents; give more sessions")


def recorded_closed_load(
    recorded: Sequence[RecordedSession],
    agents: int,
    duration_s: float,
    seed: int,
    pause_cap_s: float | None,
    adjustments: Adjustments,
) -> Load:
    """A closed loop over recorded sessions. Raises WorkloadError as `closed_load`."""
    return closed_load(recorded_sequence(recorded, seed), agents, duration_s, seed, pause_cap_s, adjustments)


def recorded_sequence(recorded: Sequence[RecordedSession], seed: int) -> Iterator[Session]:
    """The sessions at random without end, each once before any comes again as a copy (copies.py).

    More agents than sessions run copies of a session side by side.
    """
    random, copy = np.random.default_rng((seed, 1)), 0
    while True:
        for index in random.permutation(len(recorded)):
            yield copied(recorded[index].session, copy)
        copy += 1


def with_capped_pauses(session: Session, cap_s: float) -> Session:
    """The session with each tool's time, and the time until a sub-agent begins, cut to `cap_s`; sub-agents too."""
    return dataclasses.replace(session, turns=tuple(_capped(turn, cap_s) for turn in session.turns))


def _capped(turn: Turn, cap_s: float) -> Turn:
    calls = tuple(
        dataclasses.replace(
            call,
            duration_s=min(call.duration_s, cap_s),
            agent=None if call.agent is None else _capped_agent(call.agent, cap_s),
        )
        for call in turn.calls
    )
    return dataclasses.replace(turn, calls=calls)


def _capped_agent(agent: Session, cap_s: float) -> Session:
    return dataclasses.replace(with_capped_pauses(agent, cap_s), arrival_s=min(agent.arrival_s, cap_s))


def least_s(session: Session) -> float:
    """The shortest time in which an engine can serve the session, without its sub-agents."""
    return sum(turn.output_tokens * LEAST_TOKEN_S + turn.tools_s for turn in session.turns)
