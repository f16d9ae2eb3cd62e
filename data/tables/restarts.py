"""Sessions that a server met more than once. One that it has forgotten (after a restart, after an hour's pause) comes
back under the same id and is numbered from turn 0 again: each such life is a session of its own in what is learned."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Met = tuple[float, int]  # when a turn arrived, s, and its number


class Lives:
    """When each life of a session began, by source and session id, for the sessions that had several."""

    def __init__(self, turns: Iterable[Row]) -> None:
        """`turns`: rows of the table `turns`, in any order. A row that is there twice begins no life."""
        met: dict[tuple[str, str], list[Met]] = defaultdict(list)
        for row in turns:
            met[row["source"], row["session_id"]].append((row["arrival_s"], row["turn"]))
        found = {key: _begun_s(of_session) for key, of_session in met.items()}
        self._begun_s = {key: begun_s for key, begun_s in found.items() if len(begun_s) > 1}

    def name(self, row: Row, at_s: float) -> str:
        """The id of the life that a row of `turns` or `tool_calls` belongs to, by its arrival or start: the session's
        own for the last life, with the life's number for the ones before."""
        session_id: str = row["session_id"]
        begun_s = self._begun_s.get((row["source"], session_id), ())
        life = bisect_right(begun_s, at_s)
        return session_id if life == len(begun_s) else f"{session_id}#{life}"


def _begun_s(met: Sequence[Met]) -> list[float]:
    """When each life's first turn arrived. Turns are numbered as they arrive, so that a new life begins with a number
    that the present one has had; or with 0, where the first turns of the life before are not in the trace."""
    begun_s: list[float] = []
    seen: dict[int, float] = {}
    if len({turn for _, turn in met}) == len(met):
        return begun_s
    for arrival_s, turn in sorted(met):
        again = seen.get(turn, arrival_s) != arrival_s
        if not begun_s or again or (turn == 0 and turn not in seen):
            begun_s.append(arrival_s)
            seen = {}
        seen[turn] = arrival_s
    return begun_s
