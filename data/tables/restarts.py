"""Splits a recorded session where its server forgot it and numbered its turns from 0 again, or its engine changed.

A server forgets a session when it restarts, or after an hour without a turn. The session then comes back under the same
id. Of several engines each knows the turns that it served: it numbers them itself, and takes the time to its next one
for a pause. Training and replay treat each run of turn numbers on one engine as a session.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]
Arrival = tuple[float, int, str]
"""Of a turn: its time, its number, and the engine that numbered it, empty if not recorded."""


class Restarts:
    """The times at which each session's turn numbers began again, by source and session id."""

    def __init__(self, turns: Iterable[Row]) -> None:
        """`turns`: rows of the table `turns`, in any order. A duplicate row is no restart."""
        arrivals: dict[tuple[str, str], list[Arrival]] = defaultdict(list)
        for row in turns:
            arrival = (row["arrival_s"], row["turn"], row.get("engine") or "")
            arrivals[row["source"], row["session_id"]].append(arrival)
        starts_s = {session: _starts_s(numbered) for session, numbered in arrivals.items()}
        self._starts_s = {session: starts for session, starts in starts_s.items() if len(starts) > 1}
        self._moves_s = {session: _moves_s(sorted(arrivals[session])) for session in self._starts_s}

    def run_id(self, source: str, session_id: str, time_s: float) -> str:
        """The id of the session's run at `time_s`: a turn's arrival, a tool call's start.

        The last run keeps the session's id; earlier ones get `#1`, `#2`, ….
        """
        starts_s = self._starts_s.get((source, session_id), ())
        run = bisect_right(starts_s, time_s)
        return session_id if run == len(starts_s) else f"{session_id}#{run}"

    def moved(self, source: str, session_id: str, from_s: float, to_s: float) -> bool:
        """Whether another engine served the session between two times: then they bound no pause."""
        return any(from_s < at_s < to_s for at_s in self._moves_s.get((source, session_id), ()))


def _starts_s(arrivals: Sequence[Arrival]) -> list[float]:
    """The arrival of each run's first turn.

    A run ends before a number that it already has, and before a turn 0: the run's own turn 0 may not be recorded. It
    ends before a turn of another engine.
    """
    starts_s: list[float] = []
    one_engine = len({engine for _, _, engine in arrivals}) == 1
    if one_engine and len({turn for _, turn, _ in arrivals}) == len(arrivals):
        return starts_s
    seen: dict[int, float] = {}
    before = ""
    for arrival_s, turn, engine in sorted(arrivals):
        repeated = seen.get(turn, arrival_s) != arrival_s
        if not starts_s or repeated or (turn == 0 and turn not in seen) or engine != before:
            starts_s.append(arrival_s)
            seen = {}
        seen[turn], before = arrival_s, engine
    return starts_s


def _moves_s(arrivals: Sequence[Arrival]) -> list[float]:
    """The arrivals of turns on another engine than that of the turn before."""
    return [turn[0] for before, turn in pairwise(arrivals) if before[2] != turn[2]]
