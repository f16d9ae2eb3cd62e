import dataclasses
import random
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from augserve.features.history import SessionHistory, ToolHistory
from augserve.features.replay import PastCall, PastTurn, Replayed, replay
from augserve.features.tool_call import TOOL_CALL_FEATURES, ToolCallFacts, tool_call_features
from augserve.features.turn import TURN_FEATURES, TurnFacts, turn_features

TOOL_LOG = [part.name for part in TOOL_CALL_FEATURES].index("tool_log_s")


def sessions(seed: int, count: int = 6) -> list[PastTurn]:
    """Sessions that overlap in time and share their tools."""
    draw = random.Random(seed)
    turns = []
    for index in range(count):
        now_s, context = draw.uniform(0, 5), 50
        for turn in range(length := draw.randint(1, 5)):
            prompt = context + draw.randint(1, 40)
            output = draw.randint(1, 60)
            facts = TurnFacts(prompt, turn, 256, 0.7, False, 2, [draw.randint(0, 999) for _ in range(5)])
            finish_s, duration_s = now_s + output * 0.02, draw.uniform(0.01, 2)
            tool = draw.choice(["sql", "python", None])
            call = PastCall(tool, finish_s + duration_s, duration_s) if turn + 1 < length else None
            turns.append(PastTurn(f"session-{index}", facts, now_s, finish_s, output, call))
            now_s, context = finish_s + duration_s, prompt + output
    return turns


def by_turn(replayed: Sequence[Replayed]) -> dict[tuple[str, int], Replayed]:
    return {(one.past.session_id, one.past.facts.turn): one for one in replayed}


def change_future(turn: PastTurn, now_s: float, draw: random.Random) -> PastTurn:
    """The same turn with everything that is not known at `now_s` drawn anew."""
    if turn.finish_s is None or turn.finish_s > now_s:
        later = now_s + draw.uniform(0.01, 9)
        call = None if draw.random() < 0.3 else PastCall("other", later + 1, 99.0)
        return dataclasses.replace(turn, finish_s=later, output_tokens=draw.randint(1, 999), call=call)
    if turn.call is not None and turn.call.return_s > now_s:
        changed = dataclasses.replace(turn.call, tool="other", duration_s=77.0, return_s=now_s + draw.uniform(0.01, 9))
        return dataclasses.replace(turn, call=changed)
    return turn


@given(seed=st.integers(0, 10_000), pick=st.integers(0, 10_000))
def test_no_feature_knows_what_comes_later(seed: int, pick: int) -> None:
    turns = sessions(seed)
    chosen = turns[pick % len(turns)]
    now_s, key = chosen.arrival_s, (chosen.session_id, chosen.facts.turn)
    draw = random.Random(pick)
    other = [change_future(turn, now_s, draw) for turn in turns if turn.arrival_s <= now_s]
    draw.shuffle(other)
    before, after = by_turn(list(replay(turns)))[key], by_turn(list(replay(other)))[key]
    np.testing.assert_array_equal(before.turn_features, after.turn_features)
    np.testing.assert_array_equal(before.expected_call_features, after.expected_call_features)
    assert before.last_tool == after.last_tool


@given(seed=st.integers(0, 10_000), pick=st.integers(0, 10_000))
def test_a_call_knows_no_duration_at_its_start_that_was_measured_later(seed: int, pick: int) -> None:
    turns = sessions(seed, count=8)
    calling = [turn for turn in turns if turn.call is not None and turn.finish_s is not None]
    if not calling:
        return
    chosen = calling[pick % len(calling)]
    assert chosen.finish_s is not None
    now_s, key = chosen.finish_s, (chosen.session_id, chosen.facts.turn)
    draw = random.Random(pick)
    other = [turn if turn is chosen else change_future(turn, now_s, draw) for turn in turns if turn.arrival_s <= now_s]
    before, after = by_turn(list(replay(turns)))[key].call_features, by_turn(list(replay(other)))[key].call_features
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before, after)


def test_replay_says_what_a_live_table_would() -> None:
    """One session, worked by hand with the calls that serving makes."""
    first = TurnFacts(100, 0, 256, 0.7, False, 2, [1, 2, 3])
    second = TurnFacts(150, 1, 256, 0.7, False, 2, [4, 5])
    call = PastCall("sql", 3.0, 1.5, 1, 20, "select")
    turns = [PastTurn("a", second, 3.0, 4.0, 10), PastTurn("a", first, 0.0, 1.5, 30, call)]
    one, two = replay(turns)
    session, tools = SessionHistory(), ToolHistory()
    np.testing.assert_array_equal(one.turn_features, turn_features(first, session, tools))
    np.testing.assert_array_equal(
        one.expected_call_features, tool_call_features(ToolCallFacts(None, 0), session, tools)
    )
    session.turn_finished(100, 30)
    expected = tool_call_features(ToolCallFacts("sql", 0, 1, 20, "select"), session, tools)
    assert one.call_features is not None
    np.testing.assert_array_equal(one.call_features, expected)
    session.tool_returned("sql", 1.5)
    tools.add("sql", 1.5)
    np.testing.assert_array_equal(two.turn_features, turn_features(second, session, tools))
    assert two.last_tool == "sql"
    assert two.call_features is None


def test_an_unfinished_turn_leaves_no_trace_in_its_session() -> None:
    facts = TurnFacts(100, 0, 256, 0.7, False, 2, [])
    turns = [PastTurn("a", facts, 0.0, None, 0), PastTurn("a", dataclasses.replace(facts, turn=1), 9.0, 10.0, 5)]
    _, second = replay(turns)
    names = [part.name for part in TURN_FEATURES]
    assert np.isnan(second.turn_features[names.index("last_output_tokens")])


def test_a_tool_is_known_over_sessions_once_it_returned() -> None:
    facts = TurnFacts(10, 0, 256, 0.7, False, 2, [])
    slow = PastTurn("a", facts, 0.0, 1.0, 5, PastCall("sql", 3.0, 2.0))
    before = PastTurn("b", facts, 0.5, 2.9, 5, PastCall("sql", 9.0, 1.0))
    after = PastTurn("c", facts, 0.5, 3.1, 5, PastCall("sql", 9.0, 1.0))
    found = by_turn(list(replay([slow, before, after])))
    unseen, seen = found["b", 0].call_features, found["c", 0].call_features
    assert unseen is not None
    assert seen is not None
    assert np.isnan(unseen[TOOL_LOG])
    assert np.isclose(seen[TOOL_LOG], np.log(2.0))
