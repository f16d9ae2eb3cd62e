"""Splits a recorded session where its server forgot it and numbered its turns from 0 again.

A server forgets a session when it restarts, or after an hour without a turn. The session then comes back under the same
id. Training and replay treat each run of turn numbers as a session.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


class Restarts:
    """The times at which each session's turn numbers began again, by source and session id."""

    def __init__(self, turns: Iterable[Row]) -> None:
        """`turns`: rows of the table `turns`, in any order. A duplicate row is no restart."""
        arrivals: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
        for row in turns:
            arrivals[row["source"], row["session_id"]].append((row["arrival_s"], row["turn"]))
        starts_s = {session: _starts_s(numbered) for session, numbered in arrivals.items()}
        self._starts_s = {session: starts for session, starts in starts_s.items() if len(starts) > 1}

    def run_id(self, source: str, session_id: str, time_s: float) -> str:
        """The id of the session's run at `time_s`: a turn's arrival, a tool call's start.

        The last run keeps the session's id; earlier ones get `#1`, `#2`, ….
        """
        starts_s = self._starts_s.get((source, session_id), ())
        run = bisect_right(starts_s, time_s)
        return session_id if run == len(starts_s) else f"{session_id}#{run}"


def _starts_s(arrivals: Sequence[tuple[float, int]]) -> list[float]:
    """The arrival of each run's first turn, from (arrival, number) of a session's turns.

    A run ends before a number that it already has, and before a turn 0: the run's own turn 0 may not be recorded.
    """
    starts_s: list[float] = []
    if len({turn for _, turn in arrivals}) == len(arrivals):
        return starts_s
    seen: dict[int, float] = {}
    for arrival_s, turn in sorted(arrivals):
        repeated = seen.get(turn, arrival_s) != arrival_s
        if not starts_s or repeated or (turn == 0 and turn not in seen):
            starts_s.append(arrival_s)
            seen = {}
        seen[turn] = arrival_s
    return starts_s
