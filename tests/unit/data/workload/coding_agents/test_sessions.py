import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.data.workload.coding_agents.sessions import (
    MAX_CONTEXT,
    SUB_AGENT,
    coding_sequence,
    coding_session,
    coding_sessions,
)
from augserve.data.workload.coding_agents.tables import load_kinds
from augserve.data.workload.model import WorkloadError
from augserve.data.workload.token_ids import prompt_token_ids

KINDS = load_kinds()
SESSIONS = coding_sessions(2_000, seed=1)
TREES = [session for root in SESSIONS for session in root.tree()]


def test_kinds_come_in_the_proportion_of_their_recorded_sessions():
    names = [name for name in KINDS if name != SUB_AGENT]
    recorded = np.array([KINDS[name].turns.count for name in names])
    drawn = np.array([sum(session.kind == name for session in SESSIONS) for name in names])
    assert drawn / len(SESSIONS) == pytest.approx(recorded / recorded.sum(), abs=0.03)


@pytest.mark.parametrize("name", [name for name in KINDS if name != SUB_AGENT])
def test_outputs_and_pauses_of_each_tool_follow_its_quantiles(name):
    kind = KINDS[name]
    turns = [turn for session in SESSIONS if session.kind == name for turn in session.turns[6:-1]]
    checked = 0
    for tool in kind.late.tools:
        own = [turn for turn in turns if turn.longest_call.tool == tool.name]
        if tool.runs_agents or len(own) < 2_000:
            continue
        checked += 1
        for level in (0.25, 0.5, 0.75, 0.9):
            outputs = [turn.output_tokens for turn in own]
            assert _share_below(outputs, tool.output.at(level)) == pytest.approx(level, abs=0.05)
            assert _share_below([turn.tools_s for turn in own], tool.pause.at(level)) == pytest.approx(level, abs=0.08)
    assert checked


def test_turns_that_call_a_tool_have_its_recorded_share():
    kind = KINDS["swe-agent"]
    tools = [
        turn.longest_call.tool for session in SESSIONS if session.kind == "swe-agent" for turn in session.turns[:-1]
    ]
    for name in ("Bash", "Read", "Edit"):
        recorded = sum(
            turns
            for stage in (kind.early, kind.late)
            for tool, turns in zip(stage.tools, stage.turns, strict=True)
            if tool.name == name
        )
        share = recorded / sum(kind.early.turns + kind.late.turns)
        assert tools.count(name) / len(tools) == pytest.approx(share, abs=0.03)


@given(st.integers(0, 2**31 - 1), st.integers(0, 10_000))
@settings(max_examples=60)
def test_every_session_fits_the_context_with_its_limit_on_output(seed, index):
    for session in coding_session(KINDS, seed, index).tree():
        prompts = session.prompt_lengths()
        assert max(prompts) + session.max_tokens <= MAX_CONTEXT
        assert all(1 <= turn.output_tokens <= session.max_tokens for turn in session.turns)
        assert all(turn.new_tokens >= 1 for turn in session.turns)
        assert all(turn.calls for turn in session.turns[:-1])
        assert not session.turns[-1].calls
        assert all(call.duration_s > 0 for turn in session.turns for call in turn.calls)
        assert all(prefix.tokens < session.prompt_tokens(0) for prefix in session.shared)


def test_a_session_depends_on_its_seed_and_place_alone():
    assert coding_sessions(3, seed=4) == coding_sessions(8, seed=4)[:3]
    assert coding_sessions(3, seed=4) == tuple(itertools.islice(coding_sequence(4), 3))
    assert coding_sessions(3, seed=4) != coding_sessions(3, seed=5)


def test_ids_are_unique_in_all_trees():
    ids = [session.session_id for session in TREES]
    assert len(set(ids)) == len(ids)
    assert coding_sessions(2, seed=9)[1].session_id == "coding-9-1"


def test_sub_agents_run_below_the_calls_of_both_kinds():
    assert {root.kind for root in SESSIONS if any(root.agents)} == {"swe-agent", "pair-programmer"}
    assert {agent.kind for root in SESSIONS for agent in root.agents} == {SUB_AGENT}


def test_sessions_of_a_kind_with_one_system_prompt_begin_with_the_same_tokens():
    own = [session for session in SESSIONS[:200] if session.kind == "swe-agent" and session.shared]
    first = own[0]
    same = next(session for session in own[1:] if session.shared == first.shared)
    tokens = first.shared[0].tokens
    assert prompt_token_ids(first, 0)[:tokens] == prompt_token_ids(same, 0)[:tokens]
    assert prompt_token_ids(first, 0)[tokens : tokens + 9] != prompt_token_ids(same, 0)[tokens : tokens + 9]


def test_some_turns_of_pair_programmers_keep_only_a_part_of_the_context():
    turns = [turn for session in SESSIONS if session.kind == "pair-programmer" for turn in session.turns[1:]]
    rewritten = sum(turn.kept_tokens is not None for turn in turns)
    assert rewritten / len(turns) == pytest.approx(KINDS["pair-programmer"].rewritten_share, abs=0.01)


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_that_is_not_positive_is_refused(count):
    with pytest.raises(WorkloadError, match="coding-agents"):
        coding_sessions(count, seed=1)


def _share_below(values, limit):
    """The share of values below the limit; of those equal to it, half."""
    array = np.array(values)
    close = np.isclose(array, limit, rtol=1e-3, atol=0.5 if limit >= 1 else 1e-4)
    return ((array < limit) & ~close).mean() + close.mean() / 2
