import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.data.workload.arrivals import covering_count
from augserve.data.workload.augmentations import load_augmentations, lognormal
from augserve.data.workload.mix import augmentation_sessions, steady_sessions
from augserve.data.workload.model import MAX_TOKENS, Session, ToolCall, Turn, WorkloadError
from augserve.data.workload.token_ids import END_ID, prompt_token_ids, session_token_ids

SESSIONS = augmentation_sessions(12_000, 10.0, seed=1)


@pytest.mark.parametrize("kind", load_augmentations(), ids=lambda kind: kind.kind)
def test_drawn_sessions_agree_with_the_published_figures(kind):
    own = [session for session in SESSIONS if session.kind == kind.kind]
    calls = [call for session in own for turn in session.turns for call in turn.calls]
    times = np.array([call.duration_s for call in calls])
    contexts = [s.prompt_tokens(len(s.turns) - 1) + s.turns[-1].output_tokens for s in own]
    calls_mean, calls_sd = kind.session_calls
    assert len(own) / len(SESSIONS) == pytest.approx(kind.requests / 397, rel=0.1)
    assert times.mean() == pytest.approx(kind.tool_mean_s, rel=0.04)
    assert times.std() == pytest.approx(kind.tool_sd_s, rel=0.1)
    assert np.mean([len(session.turns) - 1 for session in own]) == pytest.approx(calls_mean, rel=0.05)
    assert np.std([len(session.turns) - 1 for session in own]) == pytest.approx(calls_sd, rel=0.15)
    assert np.mean([call.result_tokens for call in calls]) == pytest.approx(kind.result_mean, rel=0.15)
    assert np.mean(contexts) == pytest.approx(kind.context_mean, rel=0.08)


def test_arrivals_are_poisson_at_the_rate_asked_for():
    gaps = np.diff([session.arrival_s for session in SESSIONS])
    assert gaps.mean() == pytest.approx(0.1, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.05)


def test_another_rate_only_stretches_the_arrivals():
    slow, fast = augmentation_sessions(50, 1.0, seed=3), augmentation_sessions(50, 4.0, seed=3)
    assert [session.turns for session in slow] == [session.turns for session in fast]
    assert slow[-1].arrival_s == pytest.approx(4 * fast[-1].arrival_s)


def test_seeds_give_other_sessions_under_other_ids():
    one, two = augmentation_sessions(50, 1.0, seed=1), augmentation_sessions(50, 1.0, seed=2)
    assert not {session.session_id for session in one} & {session.session_id for session in two}


def test_every_output_ends_within_what_its_client_asks_for():
    assert all(1 <= turn.output_tokens <= MAX_TOKENS for session in SESSIONS for turn in session.turns)
    assert all((turn.calls == ()) == (turn is s.turns[-1]) for s in SESSIONS[:500] for turn in s.turns)


@pytest.mark.parametrize(("count", "rate"), [(0, 1.0), (-3, 1.0), (5, 0.0), (5, -1.0), (5, math.nan), (5, math.inf)])
def test_a_count_or_rate_that_is_not_positive_is_refused(count, rate):
    with pytest.raises(WorkloadError, match="workload"):
        augmentation_sessions(count, rate, seed=1)


def test_steady_sessions_begin_with_those_under_way():
    sessions = steady_sessions(50.0, 5.0, seed=4)
    assert all(session.arrival_s >= 0 for session in sessions)
    under_way = [s for s in sessions if s.turns[0].new_tokens > 0 and int(s.session_id.rsplit("-", 1)[1]) < 1500]
    original = {
        session.session_id: session for session in augmentation_sessions(covering_count(350.0, 5.0), 5.0, seed=4)
    }
    assert len(under_way) > 50
    for session in under_way:
        before = original[session.session_id]
        skipped = len(before.turns) - len(session.turns)
        assert session.turns[1:] == before.turns[skipped + 1 :]
        assert session.prompt_tokens(0) == before.prompt_tokens(skipped)


def test_steady_sessions_refuse_an_empty_duration():
    with pytest.raises(WorkloadError, match="duration"):
        steady_sessions(0.0, 1.0, seed=1)


turns = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=6)


@given(turns)
@settings(max_examples=50, deadline=None)
def test_each_prompt_extends_the_last_turns_tokens(lengths):
    last = len(lengths) - 1
    session = Session(
        "math-1-0",
        "math",
        0.0,
        tuple(Turn(new, out, None if i == last else ToolCall("t", 1.0, 5)) for i, (new, out) in enumerate(lengths)),
    )
    ids = session_token_ids(session)
    for turn, facts in enumerate(session.turns):
        prompt = prompt_token_ids(session, turn)
        assert len(prompt) == session.prompt_tokens(turn)
        assert ids[: len(prompt)] == prompt
        assert ids[len(prompt) + facts.output_tokens - 1] == END_ID
    assert ids.count(END_ID) == len(lengths)


def test_sessions_share_no_prefix():
    first, second = SESSIONS[:2]
    assert session_token_ids(first)[:8] != session_token_ids(second)[:8]


def test_lognormal_without_spread_is_its_mean():
    assert lognormal(np.random.default_rng(1), 4.0, 0.0) == 4.0


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [
        ("9e-5", "minus", "tool_mean_s"),
        ("9e-5", "-1", "tool_mean_s"),
        ("9e-5", "nan", "tool_mean_s"),
        ("basis\nmath", "basi\nmath", "basis"),
        (",published\n", ",guessed\n", "basis"),
    ],
)
def test_a_wrong_table_names_the_column(tmp_path, old, new, column):
    from augserve.data.workload.augmentations import AUGMENTATIONS_FILE

    path = tmp_path / "augmentations.csv"
    path.write_text(AUGMENTATIONS_FILE.read_text().replace(old, new, 1))
    with pytest.raises(WorkloadError, match=column):
        load_augmentations(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(WorkloadError, match=r"none\.csv"):
        load_augmentations(tmp_path / "none.csv")
