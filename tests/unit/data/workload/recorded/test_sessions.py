import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.data.tables.files import rows_to_table, write_table
from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.arrivals import Poisson, Recorded
from augserve.data.workload.model import MAX_TOKENS, ToolCall, WorkloadError
from augserve.data.workload.recorded.sessions import recorded_sessions
from augserve.data.workload.schedule import trace_load
from augserve.data.workload.steady_state import NOMINAL_TOKEN_S
from augserve.data.workload.token_ids import session_token_ids


def turn(session="s", number=0, at=100.0, prompt=50, output=10, finish=None, **other):
    return {
        "source": "made",
        "session_id": session,
        "turn": number,
        "arrival_s": at,
        "finish_s": finish,
        "prompt_tokens": prompt,
        "output_tokens": output,
        **other,
    }


def call(session="s", number=0, index=0, tool="search", start=101.0, duration=2.0):
    return {
        "source": "made",
        "session_id": session,
        "turn": number,
        "call": index,
        "tool": tool,
        "start_s": start,
        "duration_s": duration,
        "timing": "call",
    }


def read(folder, turns, calls=(), adjustments=None):
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", turns))
    if calls:
        write_table(folder / "tool_calls.parquet", "tool_calls", rows_to_table("tool_calls", list(calls)))
    return recorded_sessions(folder, adjustments or Adjustments())


def test_parallel_calls_keep_their_times_and_the_last_lasts_until_the_next_turn(tmp_path):
    turns = [turn(finish=101.0), turn(number=1, at=106.0, prompt=80)]
    calls = [
        call(index=0, tool="slow", start=101.0, duration=4.5),
        call(index=1, tool="quick", start=101.0, duration=1),
    ]
    (recorded,) = read(tmp_path, turns, calls)
    first, second = recorded.session.turns
    assert first.calls == (ToolCall("slow", 5.0, 20), ToolCall("quick", 1.0, 0))
    assert second.new_tokens == 20
    assert second.calls == ()


def test_without_the_turns_end_the_pause_is_the_calls_own_time(tmp_path):
    turns = [turn(), turn(number=1, at=106.0, prompt=80)]
    (session,) = read(tmp_path, turns, [call(start=101.0, duration=2.0), call(index=1, start=102.0, duration=3.0)])
    assert session.session.turns[0].tools_s == 4.0


def test_without_calls_either_it_is_the_gap_less_the_time_to_decode(tmp_path):
    (session,) = read(tmp_path, [turn(output=50), turn(number=1, at=106.0, prompt=180)])
    assert session.session.turns[0].calls[0].tool == ""
    assert session.session.turns[0].calls[0].duration_s == pytest.approx(6.0 - 50 * NOMINAL_TOKEN_S)


def test_single_turn_sets_need_no_tool_calls(tmp_path):
    sessions = read(tmp_path, [turn(f"s{number}", at=float(number)) for number in range(5)])
    assert [session.start_s for session in sessions] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert all(len(session.session.turns) == 1 for session in sessions)


def test_a_compacted_context_stays_one_session_and_keeps_what_was_cached(tmp_path):
    turns = [
        turn(finish=101.0),
        turn(number=1, at=103.0, prompt=80, finish=104.0),
        turn(number=2, at=110.0, prompt=30, cached_tokens=12),
        turn(number=3, at=112.0, prompt=50),
    ]
    adjustments = Adjustments()
    (recorded,) = read(tmp_path, turns, adjustments=adjustments)
    session = recorded.session
    assert [(t.new_tokens, t.kept_tokens) for t in session.turns] == [(50, None), (20, None), (18, 12), (10, None)]
    assert session.prompt_lengths() == [50, 80, 30, 50]
    assert adjustments.compactions == 1


def test_a_turn_whose_blocks_differ_from_the_one_before_keeps_the_shared_blocks(tmp_path):
    blocks = {"block_tokens": 16}
    turns = [
        turn(prompt=64, finish=101.0, **blocks),
        turn(number=1, at=103.0, prompt=90, cached_tokens=64, **blocks),
        turn(number=2, at=110.0, prompt=120, cached_tokens=32, **blocks),
    ]
    (recorded,) = read(tmp_path, turns)
    assert [t.kept_tokens for t in recorded.session.turns] == [None, None, 32]


def agent_turns(at, finish, **other):
    return [turn("child", at=at, prompt=40, finish=finish, parent_session_id="s", **other)]


PARENT = [turn(finish=101.0), turn(number=1, at=109.0, prompt=80, finish=110.0)]
AGENT_CALL = {**call(tool="Task", start=101.0, duration=7.0), "agent_session_id": "child"}


def test_a_sub_agent_runs_in_the_call_that_started_it(tmp_path):
    calls = [call(tool="quick", start=101.0, duration=1.0), {**AGENT_CALL, "call": 1}]
    (recorded,) = read(tmp_path, PARENT + agent_turns(102.0, 107.5), calls)
    quick, task = recorded.session.turns[0].calls
    assert quick.duration_s == 1.0
    assert task.agent.session_id == "made:child"
    assert (task.agent.arrival_s, task.duration_s) == (1.0, 1.5)  # after the turn's end; before the next arrival


def test_a_sub_agent_without_a_call_runs_in_the_pause_that_holds_it(tmp_path):
    (recorded,) = read(tmp_path, PARENT + agent_turns(102.0, 107.5))
    (task,) = recorded.session.turns[0].calls
    assert task.agent.session_id == "made:child"


def test_a_sub_agent_that_no_turn_waits_for_becomes_a_session_of_its_own(tmp_path):
    adjustments = Adjustments()
    assert len(read(tmp_path, PARENT + agent_turns(102.0, 150.0), [AGENT_CALL], adjustments)) == 2
    assert adjustments.background_agents == 1


@pytest.mark.parametrize("parent", ["child", "missing"])
def test_a_sub_agent_below_itself_or_without_its_parent_becomes_a_session_of_its_own(tmp_path, parent):
    adjustments = Adjustments()
    child = [{**row, "parent_session_id": parent} for row in agent_turns(102.0, 107.5)]
    assert len(read(tmp_path, PARENT + child, adjustments=adjustments)) == 2
    assert adjustments.orphans == 1


def test_two_sub_agents_below_each_other_become_sessions_of_their_own(tmp_path):
    adjustments = Adjustments()
    rows = [
        turn("a", at=102.0, finish=103.0, parent_session_id="b"),
        turn("b", at=102.0, finish=103.0, parent_session_id="a"),
    ]
    assert len(read(tmp_path, rows, adjustments=adjustments)) == 2
    assert adjustments.orphans == 2


def test_a_prefix_with_an_identity_is_shared_by_all_that_name_it(tmp_path):
    named = {"prefix_id": "tools", "prefix_tokens": 30}
    first, second = read(tmp_path, [turn("a", **named), turn("b", prompt=60, **named)])
    assert session_token_ids(first.session)[:30] == session_token_ids(second.session)[:30]
    assert session_token_ids(first.session)[30:40] != session_token_ids(second.session)[30:40]


def test_a_sub_agent_that_forks_its_parent_shares_the_parents_context(tmp_path):
    fork = agent_turns(102.0, 107.5, prefix_id="s", prefix_tokens=45)
    fork[0]["prompt_tokens"] = 70
    (recorded,) = read(tmp_path, PARENT + fork, [AGENT_CALL])
    parent, agent = recorded.session, recorded.session.turns[0].calls[0].agent
    assert session_token_ids(agent)[:45] == session_token_ids(parent)[:45]


def test_a_prompt_without_all_of_the_last_output_goes_on_and_catches_up(tmp_path):
    turns = [turn(output=40), turn(number=1, at=102.0, prompt=60), turn(number=2, at=104.0, prompt=200)]
    adjustments = Adjustments()
    (session,) = read(tmp_path, turns, adjustments=adjustments)
    piece = session.session
    assert [piece.prompt_tokens(index) for index in range(3)] == [50, 91, 200]
    assert adjustments.padded_turns == 1


def test_overlaps_and_empty_outputs_are_counted(tmp_path):
    adjustments = Adjustments()
    (session,) = read(
        tmp_path, [turn(output=0, finish=105.0), turn(number=1, at=102.0, prompt=80)], adjustments=adjustments
    )
    assert session.session.turns[0].output_tokens == 1
    assert session.session.turns[0].calls[0].duration_s == 0.0
    assert (adjustments.overlaps, adjustments.empty_outputs) == (1, 1)
    assert len(adjustments.lines()) == 2


def test_max_tokens_tells_nothing_of_a_single_session(tmp_path):
    sessions = read(tmp_path, [turn("short", output=5), turn("long", output=5000)])
    assert {session.session.max_tokens for session in sessions} == {5000}
    assert {s.session.max_tokens for s in read(tmp_path, [turn("short", output=5)])} == {MAX_TOKENS}


def test_traces_without_a_turn_are_one_line(tmp_path):
    with pytest.raises(WorkloadError, match=re.escape(str(tmp_path))):
        read(tmp_path, [])


sessions_strategy = st.lists(
    st.tuples(
        st.floats(0, 1e4),  # start
        st.lists(st.tuples(st.integers(1, 90), st.integers(1, 60), st.floats(0, 50)), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=12,
)


def recorded_rows(drawn):
    """Turns that extend each other, with their ends."""
    rows = []
    for number, (start, turns) in enumerate(drawn):
        at, context = start, 0
        for index, (new, output, pause) in enumerate(turns):
            finish = at + 0.01 * output
            rows.append(turn(f"s{number}", index, at, context + new, output, finish))
            context, at = context + new + output, finish + pause
    return rows


@given(sessions_strategy)
@settings(max_examples=60, deadline=None)
def test_no_turn_is_lost_or_doubled_and_order_lengths_and_pauses_are_kept(tmp_path_factory, drawn):
    rows = recorded_rows(drawn)
    sessions = read(tmp_path_factory.mktemp("traces"), rows)
    assert sorted(session.session_id for session in sessions) == sorted(f"s{number}" for number in range(len(drawn)))
    assert [s.start_s for s in sessions] == sorted(s.start_s for s in sessions)
    for session in sessions:
        piece = session.session
        _, turns = drawn[int(session.session_id[1:])]
        assert [(t.new_tokens, t.output_tokens) for t in piece.turns] == [(new, output) for new, output, _ in turns]
        pauses = [t.tools_s for t in piece.turns if t.calls]
        assert pauses == pytest.approx([pause for *_, pause in turns[:-1]], abs=1e-6)


@given(sessions_strategy, st.floats(0.01, 100))
@settings(max_examples=60, deadline=None)
def test_a_replay_at_scale_1_plans_the_recorded_arrivals_and_a_rate_only_moves_the_starts(
    tmp_path_factory, drawn, rate
):
    rows = recorded_rows(drawn)
    sessions = read(tmp_path_factory.mktemp("traces"), rows)
    first = min(row["arrival_s"] for row in rows)
    expected = {(f"made:{row['session_id']}", row["turn"]): row["arrival_s"] - first for row in rows}
    load = trace_load(sessions, Recorded(), None, None, seed=1).sessions
    planned = planned_arrivals(load)
    assert set(planned) == set(expected)
    assert all(planned[key] == pytest.approx(at, abs=1e-6) for key, at in expected.items())
    if len({session.start_s for session in sessions}) > 1:
        scaled = trace_load(sessions, Recorded(), rate, None, seed=1).sessions
        assert [(s.session_id, s.turns) for s in scaled] == [(s.session_id, s.turns) for s in load]


def planned_arrivals(sessions):
    """When each turn arrives if the server takes the recorded time for it."""
    found = {}
    for session in sessions:
        at = session.arrival_s
        for index, facts in enumerate(session.turns):
            found[session.session_id, index] = at
            if facts.calls:
                at += 0.01 * facts.output_tokens + facts.tools_s
    return found


@given(sessions_strategy, st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_generated_arrivals_draw_all_sessions_before_one_again_and_ids_stay_unique(tmp_path_factory, drawn, seed):
    sessions = read(tmp_path_factory.mktemp("traces"), recorded_rows(drawn))
    load = trace_load(sessions, Poisson(), 0.05, 400.0, seed)  # 35 sessions begin, from 300 s before the start
    ids = [session.session_id for session in load.sessions]
    assert len(set(ids)) == len(ids)
    originals = {f"made:{session.session_id}": session.session.turns for session in sessions}
    for session in load.sessions:
        turns = originals[session.session_id.split("~")[0]]
        assert session.turns[1:] == turns[len(turns) - len(session.turns) + 1 :]
        assert session.arrival_s >= 0
    assert load.adjustments.repeated_sessions == sum("~" in name for name in ids)
