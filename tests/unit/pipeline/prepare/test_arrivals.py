from pathlib import Path

from augserve.features.past import PastCall, PastPause, PastTurn
from augserve.features.turn import TurnFacts
from augserve.pipeline.prepare.arrivals import CHUNK_TURNS, Arrivals
from augserve.pipeline.prepare.training_turns import TrainingTurn


def turn(session: int, number: int) -> TrainingTurn:
    facts = TurnFacts(100, number, 256, 0.7, None, False, 2, [1] * 32)
    pause = PastPause(number + 0.9, 0.4, (PastCall("sql", 0.4, 1, 9, "select", timed=True),)) if number < 2 else None
    past = PastTurn(f"session-{session}", facts, session + number, session + number + 0.5, 30, pause, "acme")
    return TrainingTurn("set", past, None, f"session-{session}", False, number < 2, f"model-{session % 2}")


def test_turns_come_back_as_they_were_by_model_and_arrival(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path)
    sessions = range(CHUNK_TURNS)
    for half in (sessions[::2], sessions[1::2]):
        arrivals.add([turn(session, number) for session in half for number in range(3)])
    found = [list(served) for served in arrivals.of_models("set")]
    assert [{one.model for one in served} for served in found] == [{"model-0"}, {"model-1"}]
    for served in found:
        times = [one.past.arrival_s for one in served]
        assert times == sorted(times)
    (third,) = [
        one for served in found for one in served if one.split_group == "session-3" and one.past.facts.turn == 2
    ]
    assert third.remaining is not None
    assert third.remaining.last
    assert third.past.last
    again = turn(3, 2)
    assert third.past.facts == again.past.facts
    assert sum(map(len, found)) == 3 * CHUNK_TURNS
    first = next(one for served in found for one in served if one.split_group == "session-3")
    assert first.past == turn(3, 0).past
