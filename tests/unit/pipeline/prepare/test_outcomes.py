"""The remaining work of sessions, from turns made by hand."""

from augserve.features.past import PastCall, PastPause, PastTurn
from augserve.features.turn import TurnFacts
from augserve.pipeline.prepare.outcomes import Remaining, remaining_work
from augserve.pipeline.prepare.training_turns import TrainingTurn, multi_turn

START = 1.7e9
LATER = 1000.0  # when another session shows that the trace went on


def turn(session: str, number: int, prompt: int, output: int, at_s: float, paused: bool = False) -> TrainingTurn:
    at_s += START
    pause = PastPause(at_s + 3, 2.0, (PastCall("sql", 2.0),)) if paused else None
    past = PastTurn(session, TurnFacts(prompt, number), at_s, at_s + 1, output, pause)
    return TrainingTurn("set", past, None, session, cut_off=False, ends_in_tool=paused)


def test_remaining_tokens_are_later_outputs_and_new_prompt_tokens() -> None:
    session = [turn("a", 0, 100, 10, 0, paused=True), turn("a", 1, 130, 5, 3, paused=True), turn("a", 2, 140, 7, 6)]
    found = remaining_work([*session, turn("b", 0, 1, 1, LATER)])
    assert found["a", 0] == Remaining(3, (20 + 5) + (5 + 7), censored=False, last=False)
    assert found["a", 1] == Remaining(2, 5 + 7, censored=False, last=False)
    assert found["a", 2] == Remaining(1, 0, censored=False, last=True)


def test_a_prompt_that_shrinks_brings_no_new_tokens() -> None:
    found = remaining_work([turn("a", 0, 500, 10, 0, paused=True), turn("a", 1, 50, 5, 3), turn("b", 0, 1, 1, LATER)])
    assert found["a", 0].tokens == 5


def test_a_session_that_ends_in_a_tool_call_is_censored() -> None:
    found = remaining_work([turn("a", 0, 10, 5, 0, paused=True), turn("b", 0, 1, 1, LATER)])
    assert found["a", 0].censored


def test_a_session_that_ends_with_its_recording_is_censored() -> None:
    turns = [turn("a", 0, 10, 5, 0, paused=True), turn("a", 1, 20, 5, 3), turn("b", 0, 10, 5, LATER)]
    found = remaining_work(turns)
    assert found["b", 0].censored
    assert not found["a", 0].censored


def test_a_set_without_a_unix_clock_is_complete() -> None:
    turns = [turn("a", 0, 10, 5, -START, paused=True), turn("a", 1, 20, 5, 3 - START, paused=True)]
    assert not remaining_work(turns)["a", 1].censored


def test_a_set_with_a_second_turn_records_sessions() -> None:
    assert not multi_turn([turn("a", 0, 10, 5, 0), turn("b", 0, 10, 5, 0)])
    assert multi_turn([turn("a", 0, 10, 5, 0), turn("a", 1, 10, 5, 9)])
