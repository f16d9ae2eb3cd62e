"""Turn and tool-call vectors."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.tables.prompt_tail import TAIL_BUCKETS, TAIL_TOKENS, tail_counts
from augserve.features.feature import bucket
from augserve.features.session_history import ReturnedCall, SessionHistory
from augserve.features.shared_history import SharedHistory
from augserve.features.tool_call import (
    HEAD_BUCKETS,
    TOOL_BUCKETS,
    TOOL_CALL_FEATURES,
    ToolCallFacts,
    expected_call,
    tool_call_features,
)
from augserve.features.turn import TAIL_AT, TURN_FEATURES, TurnFacts, turn_features

TURN_NAMES = [part.name for part in TURN_FEATURES]
CALL_NAMES = [part.name for part in TOOL_CALL_FEATURES]


def turn_row(facts: TurnFacts, session: SessionHistory, shared: SharedHistory | None = None) -> dict[str, float]:
    row = turn_features(facts, session, shared or SharedHistory())
    return dict(zip(TURN_NAMES, row.tolist(), strict=True))


def call_row(facts: ToolCallFacts, session: SessionHistory, shared: SharedHistory | None = None) -> dict[str, float]:
    row = tool_call_features(facts, session, shared or SharedHistory())
    return dict(zip(CALL_NAMES, row.tolist(), strict=True))


def test_names_are_unique_and_described() -> None:
    for features in (TURN_FEATURES, TOOL_CALL_FEATURES):
        assert len({part.name for part in features}) == len(features)
        assert all(part.unit and part.meaning for part in features)


def test_the_vector_of_a_turn_has_its_facts_and_history() -> None:
    session = SessionHistory()
    session.turn_finished(80, 20)
    session.calls_returned([ReturnedCall("sql", None, 30, "select")], 0.5)
    row = turn_row(TurnFacts(120, 1, 256, 0.5, 0.9, True, 3, [1] * TAIL_BUCKETS), session)
    told = {
        "prompt_tokens": 120,
        "new_tokens": 20,
        "cached_tokens": 100,
        "turn": 1,
        "max_tokens": 256,
        "temperature": 0.5,
        "top_p": np.float32(0.9),
        "structured": 1,
        "tools_offered": 3,
        "tools_used": 1,
        "tool_calls": 1,
        "last_calls": 1,
        "same_tool_turns": 1,
        "last_argument_bytes": 30,
        "argument_bytes": 30,
        "last_new_tokens": 80,
        "last_output_tokens": 20,
        "mean_output_tokens": 20,
        "max_output_tokens": 20,
        "total_output_tokens": 20,
        "last_pause_s": 0.5,
        "mean_pause_s": 0.5,
        "total_pause_s": 0.5,
        f"last_tool_{bucket('sql', TOOL_BUCKETS)}": 1,
        f"used_{bucket('sql', TOOL_BUCKETS)}": 1,
        f"since_{bucket('sql', TOOL_BUCKETS)}": 0,
        f"last_head_{bucket('select', TOOL_BUCKETS)}": 1,
        "tail_0": 1,
    }
    assert {name: row[name] for name in told} == told
    assert np.isnan(row["before_last_output_tokens"])
    assert np.isnan(row["tool_log_s"])


def test_unknown_values_are_nan() -> None:
    row = turn_row(TurnFacts(120, 0), SessionHistory())
    known = {name for name, value in row.items() if not np.isnan(value)}
    zeros = {"turn", "cached_tokens", "tools_used", "tool_calls", "last_calls", "same_tool_turns", "argument_bytes"}
    zeros |= {"total_output_tokens", "total_pause_s"}
    zeros |= {name for name in TURN_NAMES if name.startswith(("last_tool_", "used_", "last_head_"))}
    assert known == {"prompt_tokens", "new_tokens"} | zeros
    assert all(row[name] == 0 for name in zeros)
    call = call_row(ToolCallFacts(None, 0), SessionHistory())
    assert {name for name, value in call.items() if not np.isnan(value)} >= {"turn", "expected", "tool_calls"}
    assert all(np.isnan(call[name]) for name in ("argument_bytes", "calls", "tool_log_s", "hierarchy_log_s"))


def test_the_outputs_of_the_tenant_precede_those_of_all() -> None:
    session, shared = SessionHistory(tenant="acme"), SharedHistory()
    shared.turn_finished(SessionHistory(tenant="other"), 1000)
    assert np.isclose(turn_row(TurnFacts(9, 0), session, shared)["recent_output_log"], np.log(1000))
    shared.turn_finished(session, 10)
    assert np.isclose(turn_row(TurnFacts(9, 0), session, shared)["recent_output_log"], np.log(10))


@given(st.lists(st.integers(0, 200_000), max_size=120))
def test_only_the_tail_of_the_prompt_is_counted(ids: list[int]) -> None:
    counts = tail_counts(ids)
    assert counts == tail_counts(ids[-TAIL_TOKENS:])
    assert len(counts) == TAIL_BUCKETS
    assert sum(counts) == max(2 * min(len(ids), TAIL_TOKENS) - 1, 0)
    row = turn_features(TurnFacts(9, 0, tail=counts), SessionHistory(), SharedHistory())
    assert row[TAIL_AT:].tolist() == counts


def test_the_order_of_tokens_matters() -> None:
    assert tail_counts([1, 2, 3, 4]) != tail_counts([4, 3, 2, 1])


def test_the_vector_of_a_tool_call_has_tool_and_arguments() -> None:
    session, shared = SessionHistory(), SharedHistory()
    shared.calls_returned([ReturnedCall("bash", 4.0, 9, "git")], 4.0)
    session.calls_returned([ReturnedCall("bash", 2.0, 9, "git")], 2.0)
    row = call_row(ToolCallFacts("bash", 2, 1, 40, "git", calls=3), session, shared)
    assert row[f"tool_{bucket('bash', TOOL_BUCKETS)}"] == row[f"head_{bucket('git', HEAD_BUCKETS)}"] == 1
    assert (row["turn"], row["argument_count"], row["argument_bytes"], row["calls"]) == (2, 1, 40, 3)
    assert row["same_tool_last_s"] == row["same_call_last_s"] == 2
    assert np.isclose(row["call_log_s"], np.log(4))
    assert not row["expected"]


def test_an_unknown_tool_falls_back_to_its_family_and_to_all() -> None:
    shared = SharedHistory()
    shared.calls_returned([ReturnedCall("mcp__fs__read", 4.0)], 4.0)
    kin = call_row(ToolCallFacts("mcp__fs__write", 0), SessionHistory(), shared)
    stranger = call_row(ToolCallFacts("bash", 0), SessionHistory(), shared)
    assert np.isnan(kin["tool_log_s"])
    assert np.isnan(stranger["tool_log_s"])
    assert kin["tool_count"] == stranger["tool_count"] == 0
    assert np.isclose(kin["family_log_s"], np.log(4))
    assert np.isnan(stranger["family_log_s"])
    assert np.isclose(kin["hierarchy_log_s"], np.log(4))
    assert np.isclose(stranger["hierarchy_log_s"], np.log(4))


def test_the_expected_call_is_the_last_one_of_the_session_without_arguments() -> None:
    session = SessionHistory()
    session.calls_returned([ReturnedCall("bash", None, 40, "git")], 2.0)
    row = call_row(expected_call(session, 5), session)
    assert row["expected"] == 1
    assert np.isnan(row["argument_bytes"])
    assert row["same_call_last_s"] == 2


def test_buckets_are_the_same_in_every_process() -> None:
    code = "from augserve.features.feature import bucket; print(bucket('sql', 16), bucket('\\udc80', 16))"
    command = [sys.executable, "-c", code]
    outputs = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{bucket('sql', 16)} {bucket(chr(0xDC80), 16)}\n"}
