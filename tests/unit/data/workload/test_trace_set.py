import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.tables.files import rows_to_table, write_table
from augserve.data.tables.splits import SplitError
from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.model import Session, ToolCall, Turn, WorkloadError
from augserve.data.workload.trace_set import Split, fit_context, read_trace_set
from augserve.models.learning.training_set import split_sessions


def session(lengths, max_tokens=1024):
    last = len(lengths) - 1
    turns = (Turn(new, out, () if i == last else (ToolCall("t", 1.0, 5),)) for i, (new, out) in enumerate(lengths))
    return Session("s", "made", 0.0, tuple(turns), max_tokens=max_tokens)


@pytest.fixture
def folder(tmp_path):
    """40 sessions of 20 conversations, the prompts 10 to 400 tokens."""
    rows = [
        {
            "source": "made",
            "session_id": f"s{number}",
            "turn": 0,
            "arrival_s": float(number),
            "prompt_tokens": 10 * (number + 1),
            "output_tokens": 10,
            "split_group": f"conversation {number % 60}",
        }
        for number in range(120)
    ]
    write_table(tmp_path / "turns.parquet", "turns", rows_to_table("turns", rows))
    return tmp_path


def test_uses_share_no_session_and_no_conversation_and_lose_none(folder):
    uses = ("train", "tune", "select", "report")
    found = {use: read_trace_set(folder, Split(use, 0.15, 0.4), None, Adjustments()) for use in uses}
    ids = [session.session_id for sessions in found.values() for session in sessions]
    assert sorted(ids) == sorted(f"s{number}" for number in range(120))
    groups = [{session.group for session in sessions} for sessions in found.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 60


def test_a_session_that_trained_a_predictor_never_serves(folder):
    every = read_trace_set(folder, None, None, Adjustments())
    groups = {(session.source, session.session_id): session.group for session in every}
    trained = {key[1] for key, part in split_sessions(groups, 0.15, 0.4, groups).items() if part != "test"}
    for use in ("tune", "select", "report"):
        served = {session.session_id for session in read_trace_set(folder, Split(use, 0.15, 0.4), None, Adjustments())}
        assert served
        assert not served & trained


def test_too_few_sessions_to_split_are_one_line(tmp_path):
    row = {"source": "made", "session_id": "s", "turn": 0, "arrival_s": 0.0, "prompt_tokens": 5, "output_tokens": 5}
    write_table(tmp_path / "turns.parquet", "turns", rows_to_table("turns", [row]))
    with pytest.raises(SplitError, match="1 groups"):
        read_trace_set(tmp_path, Split("report", 0.15, 0.2), None, Adjustments())


def test_sessions_that_do_not_fit_are_left_out_and_counted(folder):
    adjustments = Adjustments()
    assert len(read_trace_set(folder, None, 110, adjustments)) == 10
    assert adjustments.left_out_sessions == 110


def test_a_context_smaller_than_every_session_is_one_line(folder):
    with pytest.raises(WorkloadError, match="12 tokens") as caught:
        read_trace_set(folder, None, 12, Adjustments())
    assert "\n" not in str(caught.value)


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 60)), min_size=1, max_size=7), st.integers(1, 500))
def test_a_session_is_cut_before_the_first_turn_that_does_not_fit(lengths, context):
    whole, adjustments = session(lengths), Adjustments()
    found = fit_context((whole,), context, adjustments)
    if not found:
        assert lengths[0][0] + lengths[0][1] > context
        assert adjustments.left_out_sessions == 1
        return
    (cut,) = found
    kept = len(cut.turns)
    assert [(t.new_tokens, t.output_tokens) for t in cut.turns] == lengths[:kept]
    assert cut.turns[-1].calls == ()
    assert cut.prompt_tokens(kept - 1) + cut.max_tokens <= context  # what the simulator and a server ask
    assert all(turn.output_tokens <= cut.max_tokens for turn in cut.turns)
    if kept < len(lengths):
        longest = max(output for _, output in lengths[: kept + 1])
        assert whole.prompt_tokens(kept) + longest > context
    assert (adjustments.cut_turns, adjustments.cut_sessions) == (len(lengths) - kept, int(kept < len(lengths)))
