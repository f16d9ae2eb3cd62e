import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.data.tables.files import rows_to_table, write_table
from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.arrivals import Poisson, Recorded
from augserve.data.workload.model import MAX_TOKENS, WorkloadError
from augserve.data.workload.recorded import recorded_sessions
from augserve.data.workload.schedule import trace_load
from augserve.data.workload.steady_state import NOMINAL_TOKEN_S


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


def test_parallel_calls_become_one_pause_named_after_the_last_to_end(tmp_path):
    turns = [turn(finish=101.0), turn(number=1, at=106.0, prompt=80)]
    calls = [
        call(index=0, tool="slow", start=101.0, duration=4.5),
        call(index=1, tool="quick", start=101.0, duration=1),
    ]
    (session,) = read(tmp_path, turns, calls)
    (piece,) = session.pieces
    assert len(piece.turns) == 2
    assert piece.turns[0].tool_call.tool == "slow"
    assert piece.turns[0].tool_call.duration_s == 5.0  # from the turn's end to the next arrival
    assert piece.turns[0].tool_call.result_tokens == piece.turns[1].new_tokens == 20
    assert piece.turns[1].tool_call is None


def test_without_the_turns_end_the_pause_is_the_calls_own_time(tmp_path):
    turns = [turn(), turn(number=1, at=106.0, prompt=80)]
    (session,) = read(tmp_path, turns, [call(start=101.0, duration=2.0), call(index=1, start=102.0, duration=3.0)])
    assert session.pieces[0].turns[0].tool_call.duration_s == 4.0


def test_without_calls_either_it_is_the_gap_less_the_time_to_decode(tmp_path):
    (session,) = read(tmp_path, [turn(output=50), turn(number=1, at=106.0, prompt=180)])
    assert session.pieces[0].turns[0].tool_call.tool == ""
    assert session.pieces[0].turns[0].tool_call.duration_s == pytest.approx(6.0 - 50 * NOMINAL_TOKEN_S)


def test_single_turn_sets_need_no_tool_calls(tmp_path):
    sessions = read(tmp_path, [turn(f"s{number}", at=float(number)) for number in range(5)])
    assert [session.start_s for session in sessions] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert all(len(session.pieces[0].turns) == 1 for session in sessions)


def test_a_shrinking_prompt_begins_a_session_of_its_own(tmp_path):
    turns = [turn(finish=101.0), turn(number=1, at=103.0, prompt=80, finish=104.0), turn(number=2, at=110.0, prompt=30)]
    adjustments = Adjustments()
    (session,) = read(tmp_path, turns, adjustments=adjustments)
    first, second = session.pieces
    assert [t.new_tokens for t in first.turns] == [50, 20]
    assert first.turns[-1].tool_call is None
    assert (second.session_id, second.arrival_s, second.prompt_tokens(0)) == ("made:s+1", 10.0, 30)
    assert adjustments.restarts == 1


def test_a_prompt_without_all_of_the_last_output_goes_on_and_catches_up(tmp_path):
    turns = [turn(output=40), turn(number=1, at=102.0, prompt=60), turn(number=2, at=104.0, prompt=200)]
    adjustments = Adjustments()
    (session,) = read(tmp_path, turns, adjustments=adjustments)
    (piece,) = session.pieces
    assert [piece.prompt_tokens(index) for index in range(3)] == [50, 91, 200]
    assert adjustments.padded_turns == 1


def test_overlaps_and_empty_outputs_are_counted(tmp_path):
    adjustments = Adjustments()
    (session,) = read(
        tmp_path, [turn(output=0, finish=105.0), turn(number=1, at=102.0, prompt=80)], adjustments=adjustments
    )
    assert session.pieces[0].turns[0].output_tokens == 1
    assert session.pieces[0].turns[0].tool_call.duration_s == 0.0
    assert (adjustments.overlaps, adjustments.empty_outputs) == (1, 1)
    assert len(adjustments.lines()) == 2


def test_max_tokens_tells_nothing_of_a_single_session(tmp_path):
    sessions = read(tmp_path, [turn("short", output=5), turn("long", output=5000)])
    assert {session.pieces[0].max_tokens for session in sessions} == {5000}
    assert {s.pieces[0].max_tokens for s in read(tmp_path, [turn("short", output=5)])} == {MAX_TOKENS}


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
        (piece,) = session.pieces
        _, turns = drawn[int(session.session_id[1:])]
        assert [(t.new_tokens, t.output_tokens) for t in piece.turns] == [(new, output) for new, output, _ in turns]
        pauses = [t.tool_call.duration_s for t in piece.turns if t.tool_call is not None]
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
            if facts.tool_call is not None:
                at += 0.01 * facts.output_tokens + facts.tool_call.duration_s
    return found


@given(sessions_strategy, st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_generated_arrivals_draw_all_sessions_before_one_again_and_ids_stay_unique(tmp_path_factory, drawn, seed):
    sessions = read(tmp_path_factory.mktemp("traces"), recorded_rows(drawn))
    load = trace_load(sessions, Poisson(), 0.05, 400.0, seed)  # 35 sessions begin, from 300 s before the start
    ids = [session.session_id for session in load.sessions]
    assert len(set(ids)) == len(ids)
    originals = {f"made:{session.session_id}": session.pieces[0].turns for session in sessions}
    for session in load.sessions:
        turns = originals[session.session_id.split("~")[0]]
        assert session.turns[1:] == turns[len(turns) - len(session.turns) + 1 :]
        assert session.arrival_s >= 0
    assert load.adjustments.repeated_sessions == sum("~" in name for name in ids)
