"""The remaining work of sessions, from turns made by hand."""

import dataclasses
import math

from augserve.features.past import PastCall, PastPause, PastTurn
from augserve.features.turn import TurnFacts
from augserve.pipeline.prepare.outcomes import SourceFacts, with_remaining_work
from augserve.pipeline.prepare.training_turns import Remaining, TrainingTurn

START = 1.7e9
LATER = 1000.0  # when another session shows that the trace went on


def turn(session: str, number: int, prompt: int, output: int, at_s: float, paused: bool = False) -> TrainingTurn:
    at_s += START
    pause = PastPause(at_s + 3, 2.0, (PastCall("sql", 2.0),)) if paused else None
    past = PastTurn(session, TurnFacts(prompt, number), at_s, at_s + 1, output, pause)
    return TrainingTurn("set", past, None, session, cut_off=False, ends_in_tool=paused)


def work(turns: list[TrainingTurn]) -> dict[tuple[str, int], Remaining]:
    found = {(turn.past.session_id, turn.past.facts.turn): turn.remaining for turn in with_remaining_work(turns)}
    return {key: remaining for key, remaining in found.items() if remaining is not None}


def facts(turns: list[TrainingTurn]) -> SourceFacts:
    found = SourceFacts()
    for turn in with_remaining_work(turns):
        found.add(turn)
    return found


def censored(turns: list[TrainingTurn]) -> set[tuple[str, int]]:
    until_s = facts(turns).complete_until_s()
    return {key for key, remaining in work(turns).items() if remaining.censored(until_s)}


def test_remaining_tokens_are_later_outputs_and_new_prompt_tokens() -> None:
    session = [turn("a", 0, 100, 10, 0, paused=True), turn("a", 1, 130, 5, 3, paused=True), turn("a", 2, 140, 7, 6)]
    found = work([*session, turn("b", 0, 1, 1, LATER)])
    ended_s = START + 7
    assert found["a", 0] == Remaining(3, (20 + 5) + (5 + 7), ended_s, paused=False, last=False)
    assert found["a", 1] == Remaining(2, 5 + 7, ended_s, paused=False, last=False)
    assert found["a", 2] == Remaining(1, 0, ended_s, paused=False, last=True)


def test_a_prompt_that_shrinks_brings_no_new_tokens() -> None:
    assert work([turn("a", 0, 500, 10, 0, paused=True), turn("a", 1, 50, 5, 3)])["a", 0].tokens == 5


def test_a_session_that_ends_in_a_tool_call_is_censored() -> None:
    assert ("a", 0) in censored([turn("a", 0, 10, 5, 0, paused=True), turn("b", 0, 1, 1, LATER)])


def test_a_session_that_ends_with_its_recording_is_censored() -> None:
    turns = [turn("a", 0, 10, 5, 0, paused=True), turn("a", 1, 20, 5, 3), turn("b", 0, 10, 5, LATER)]
    assert censored(turns) == {("b", 0)}


def test_a_session_whose_last_turn_did_not_finish_is_censored() -> None:
    open_turn = turn("a", 0, 10, 5, -START)
    open_turn = dataclasses.replace(open_turn, past=dataclasses.replace(open_turn.past, finish_s=None))
    assert censored([open_turn]) == {("a", 0)}


def test_a_set_without_a_unix_clock_is_complete() -> None:
    turns = [turn("a", 0, 10, 5, -START, paused=True), turn("a", 1, 20, 5, 3 - START, paused=True)]
    assert facts(turns).complete_until_s() == math.inf
    assert not censored(turns)


def test_a_set_with_a_second_turn_records_sessions() -> None:
    assert not facts([turn("a", 0, 10, 5, 0), turn("b", 0, 10, 5, 0)]).sessions_recorded
    assert facts([turn("a", 0, 10, 5, 0), turn("a", 1, 10, 5, 9)]).sessions_recorded


def test_the_last_arrival_of_a_session_is_marked() -> None:
    turns = [turn("a", 0, 10, 5, 9), turn("a", 1, 10, 5, 0), turn("b", 0, 10, 5, 3)]
    marked = {(one.past.session_id, one.past.facts.turn) for one in with_remaining_work(turns) if one.past.last}
    assert marked == {("a", 0), ("b", 0)}
