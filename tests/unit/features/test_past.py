import dataclasses
import random
from collections.abc import Iterable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from augserve.features.past import PastCall, PastPause, PastTurn, TurnVectors, arrival, vectorize, vectorize_arrivals
from augserve.features.session_history import ReturnedCall, SessionHistory
from augserve.features.shared_history import SharedHistory
from augserve.features.tool_call import TOOL_CALL_FEATURES, ToolCallFacts, expected_call, tool_call_features
from augserve.features.turn import TURN_FEATURES, TurnFacts, turn_features

TOOL_LOG = [part.name for part in TOOL_CALL_FEATURES].index("tool_log_s")


def facts(prompt_tokens: int, turn: int, tail: list[int] | None = None) -> TurnFacts:
    return TurnFacts(prompt_tokens, turn, 256, 0.7, 1.0, False, 2, tail or [0] * 32)


def sessions(seed: int, count: int = 6) -> list[PastTurn]:
    """Sessions that overlap in time and share their tools and tenants; some turns call several tools at once."""
    draw = random.Random(seed)
    turns = []
    for index in range(count):
        now_s, context = draw.uniform(0, 5), 50
        for turn in range(length := draw.randint(1, 5)):
            prompt = context + draw.randint(1, 40)
            output = draw.randint(1, 60)
            finish_s, pause_s = now_s + output * 0.02, draw.uniform(0.01, 2)
            calls = tuple(
                PastCall(draw.choice(["sql", "python"]), pause_s, 1, draw.randint(1, 9), draw.choice(["a", "b", None]))
                for _ in range(draw.randint(0, 3))
            )
            pause = PastPause(finish_s + pause_s, pause_s, calls) if turn + 1 < length else None
            tail = [draw.randint(0, 3) for _ in range(32)]
            tenant = draw.choice([None, "acme"])
            turns.append(
                PastTurn(f"session-{index}", facts(prompt, turn, tail), now_s, finish_s, output, pause, tenant)
            )
            now_s, context = finish_s + pause_s, prompt + output
    return turns


def by_turn(vectors: Iterable[TurnVectors]) -> dict[tuple[str, int], TurnVectors]:
    return {(one.past.session_id, one.past.facts.turn): one for one in vectors}


def change_future(turn: PastTurn, now_s: float, draw: random.Random) -> PastTurn:
    """The same turn with all facts after `now_s` drawn again."""
    if turn.finish_s is None or turn.finish_s > now_s:
        later = now_s + draw.uniform(0.01, 9)
        pause = None if draw.random() < 0.3 else PastPause(later + 1, 99.0, (PastCall("other", 99.0, timed=True),))
        return dataclasses.replace(turn, finish_s=later, output_tokens=draw.randint(1, 999), pause=pause)
    if turn.pause is not None and turn.pause.return_s > now_s:
        calls = tuple(dataclasses.replace(call, tool="other", duration_s=77.0) for call in turn.pause.calls)
        return dataclasses.replace(turn, pause=PastPause(now_s + draw.uniform(0.01, 9), 77.0, calls))
    return turn


@given(seed=st.integers(0, 10_000), pick=st.integers(0, 10_000))
def test_no_feature_depends_on_later_events(seed: int, pick: int) -> None:
    turns = sessions(seed)
    chosen = turns[pick % len(turns)]
    now_s, key = chosen.arrival_s, (chosen.session_id, chosen.facts.turn)
    draw = random.Random(pick)
    other = [change_future(turn, now_s, draw) for turn in turns if turn.arrival_s <= now_s]
    draw.shuffle(other)
    before, after = by_turn(vectorize(turns))[key], by_turn(vectorize(other))[key]
    np.testing.assert_array_equal(before.turn_features, after.turn_features)
    np.testing.assert_array_equal(before.expected_call_features, after.expected_call_features)
    assert before.last_tool == after.last_tool


@given(seed=st.integers(0, 10_000), pick=st.integers(0, 10_000))
def test_no_feature_of_a_call_depends_on_later_durations(seed: int, pick: int) -> None:
    turns = sessions(seed, count=8)
    calling = [turn for turn in turns if turn.pause is not None]
    if not calling:
        return
    chosen = calling[pick % len(calling)]
    assert chosen.finish_s is not None
    assert chosen.pause is not None
    now_s, key = chosen.finish_s, (chosen.session_id, chosen.facts.turn)
    draw = random.Random(pick)
    slower = [dataclasses.replace(call, duration_s=55.0) for call in chosen.pause.calls]
    changed = dataclasses.replace(chosen, pause=PastPause(chosen.pause.return_s + 9, 55.0, tuple(slower)))
    other = [
        changed if turn is chosen else change_future(turn, now_s, draw) for turn in turns if turn.arrival_s <= now_s
    ]
    before, after = (
        by_turn(list(vectorize(turns)))[key].call_features,
        by_turn(list(vectorize(other)))[key].call_features,
    )
    assert len(before) == len(after) == max(len(chosen.pause.calls), 1)
    np.testing.assert_array_equal(before, after)


def test_vectors_equal_those_computed_live() -> None:
    """One session, computed with the calls that serving makes."""
    first, second = facts(100, 0, [1] * 32), facts(150, 1)
    call = PastCall("sql", 1.5, 1, 20, "select")
    pause = PastPause(3.0, 1.5, (call,))
    turns = [PastTurn("a", second, 3.0, 4.0, 10), PastTurn("a", first, 0.0, 1.5, 30, pause)]
    one, two = vectorize(turns)
    session, shared = SessionHistory(), SharedHistory()
    np.testing.assert_array_equal(one.turn_features, turn_features(first, session, shared))
    np.testing.assert_array_equal(
        one.expected_call_features, tool_call_features(expected_call(session, 0), session, shared)
    )
    session.turn_finished(100, 30)
    shared.turn_finished(session, 30)
    expected = tool_call_features(ToolCallFacts("sql", 0, 1, 20, "select", calls=1), session, shared)
    np.testing.assert_array_equal(one.call_features, [expected])
    returned = [ReturnedCall("sql", None, 20, "select")]
    shared.paused(session, 1.5)
    shared.calls_returned(returned, 1.5)
    session.calls_returned(returned, 1.5)
    np.testing.assert_array_equal(two.turn_features, turn_features(second, session, shared))
    assert two.last_tool == "sql"
    assert two.call_features == ()


def test_each_parallel_call_has_its_own_vector() -> None:
    calls = (PastCall("sql", 1.0, timed=True), PastCall("python", 2.0, timed=True))
    (one,) = vectorize([PastTurn("a", facts(100, 0), 0.0, 1.0, 30, PastPause(3.0, 2.0, calls))])
    assert len(one.call_features) == 2
    assert not np.array_equal(*one.call_features, equal_nan=True)


def test_an_unfinished_turn_does_not_enter_the_history() -> None:
    turns = [PastTurn("a", facts(100, 0), 0.0, None, 0), PastTurn("a", facts(100, 1), 9.0, 10.0, 5)]
    _, second = vectorize(turns)
    names = [part.name for part in TURN_FEATURES]
    assert np.isnan(second.turn_features[names.index("last_output_tokens")])


def test_a_tool_is_known_to_other_sessions_once_it_has_returned() -> None:
    slow = PastTurn("a", facts(10, 0), 0.0, 1.0, 5, PastPause(3.0, 2.0, (PastCall("sql", 2.0),)))
    before = PastTurn("b", facts(10, 0), 0.5, 2.9, 5, PastPause(9.0, 1.0, (PastCall("sql", 1.0),)))
    after = PastTurn("c", facts(10, 0), 0.5, 3.1, 5, PastPause(9.0, 1.0, (PastCall("sql", 1.0),)))
    found = by_turn(vectorize([slow, before, after]))
    assert np.isnan(found["b", 0].call_features[0][TOOL_LOG])
    assert np.isclose(found["c", 0].call_features[0][TOOL_LOG], np.log(2.0))


@given(seed=st.integers(0, 10_000))
def test_histories_let_go_after_the_last_turn_change_nothing(seed: int) -> None:
    turns = sessions(seed)
    latest = {turn.session_id: turn for turn in sorted(turns, key=arrival)}
    marked = [dataclasses.replace(turn, last=turn is latest[turn.session_id]) for turn in turns]
    kept, let_go = by_turn(vectorize(turns)), by_turn(vectorize(marked))
    assert kept.keys() == let_go.keys()
    for key, one in kept.items():
        np.testing.assert_array_equal(one.turn_features, let_go[key].turn_features)
        np.testing.assert_array_equal(one.call_features, let_go[key].call_features)


@given(seed=st.integers(0, 10_000))
def test_turns_that_are_not_wanted_are_history_alone(seed: int) -> None:
    turns = sorted(sessions(seed), key=arrival)
    every = by_turn(vectorize_arrivals(turns))
    found = by_turn(vectorize_arrivals(turns, lambda past: past.facts.turn % 2 == 0))
    assert found.keys() == {key for key in every if key[1] % 2 == 0}
    for key, vectors in found.items():
        np.testing.assert_array_equal(vectors.turn_features, every[key].turn_features)
        np.testing.assert_array_equal(vectors.expected_call_features, every[key].expected_call_features)
        np.testing.assert_array_equal(vectors.call_features, every[key].call_features)
