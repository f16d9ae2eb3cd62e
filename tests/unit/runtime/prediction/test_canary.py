from typing import Any

from augserve.runtime.hints.hints import Hints
from augserve.runtime.prediction.canary import Canary
from augserve.runtime.prediction.forecaster import Forecaster

SESSIONS = 4000
SHARE = 0.1


class Turn:
    """What a canary reads of a turn."""

    def __init__(self, session_id: str, parent: str | None = None) -> None:
        self.session_id = session_id
        self.hints = Hints(parent_session_id=parent)


def canary(version: str) -> Canary:
    engine: Any = type("Engine", (), {"metrics": None, "clock": None})
    queue: Any = None
    made = Canary(engine, queue, SHARE)
    made.take(Forecaster(), version)
    return made


def chosen(found: Canary) -> set[int]:
    return {number for number in range(SESSIONS) if found.has(Turn(f"s{number}"))}  # type: ignore[arg-type]


def test_a_candidate_has_its_share_of_the_sessions_the_same_ones_in_each_engine() -> None:
    first = chosen(canary("a"))
    assert abs(len(first) - SHARE * SESSIONS) < 4 * (SHARE * (1 - SHARE) * SESSIONS) ** 0.5
    assert chosen(canary("a")) == first
    assert len(first & chosen(canary("b"))) < 0.3 * len(first)


def test_sub_agents_and_theirs_go_with_the_first_session_above_them() -> None:
    found = canary("a")
    first = chosen(found)
    for number in range(200):
        child, grandchild = Turn(f"c{number}", f"s{number}"), Turn(f"g{number}", f"c{number}")
        assert found.has(child) == found.has(grandchild) == (number in first)  # type: ignore[arg-type]
