"""Turn and tool-call vectors."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from augserve.features.feature import bucket
from augserve.features.history import SessionHistory, ToolHistory
from augserve.features.tool_call import TOOL_CALL_FEATURES, ToolCallFacts, tool_call_features
from augserve.features.turn import TAIL_TOKENS, TURN_FEATURES, TurnFacts, turn_features

TURN_NAMES = [part.name for part in TURN_FEATURES]
CALL_NAMES = [part.name for part in TOOL_CALL_FEATURES]


def facts(tail: list[int], tools_offered: int | None = 3) -> TurnFacts:
    return TurnFacts(120, 1, 256, 0.5, False, tools_offered, tail)


def test_names_are_unique_and_described() -> None:
    for features in (TURN_FEATURES, TOOL_CALL_FEATURES):
        assert len({part.name for part in features}) == len(features)
        assert all(part.unit and part.meaning for part in features)


def test_a_turn_holds_its_facts_and_its_history() -> None:
    session, tools = SessionHistory(), ToolHistory()
    session.turn_finished(80, 20)
    session.tool_returned("sql", 0.5)
    row = dict(zip(TURN_NAMES, turn_features(facts([1, 2]), session, tools).tolist(), strict=True))
    assert (row["prompt_tokens"], row["new_tokens"], row["last_output_tokens"], row["last_tool_s"]) == (
        120,
        20,
        20,
        0.5,
    )
    assert np.isnan(row["tool_log_s"])
    assert row[f"last_tool_{bucket('sql', 16)}"] == 1
    assert sum(value for name, value in row.items() if name.startswith("last_tool_") and name != "last_tool_s") == 1


def test_what_is_not_known_is_nan() -> None:
    row = turn_features(facts([], tools_offered=None), SessionHistory(), ToolHistory())
    missing = {name for name, value in zip(TURN_NAMES, row.tolist(), strict=True) if np.isnan(value)}
    expected = {"tools_offered", "last_output_tokens", "mean_output_tokens", "last_tool_s", "mean_tool_s", "tool_log_s"}
    assert missing == expected
    call = tool_call_features(ToolCallFacts(None, 0), SessionHistory(), ToolHistory())
    assert not call[len(CALL_NAMES) - 32 :].any()
    assert np.isnan(call[CALL_NAMES.index("argument_bytes")])


@given(st.lists(st.integers(0, 200_000), max_size=120))
def test_only_the_tail_counts(ids: list[int]) -> None:
    session, tools = SessionHistory(), ToolHistory()
    whole = turn_features(facts(ids), session, tools)
    np.testing.assert_array_equal(whole, turn_features(facts(ids[-TAIL_TOKENS:]), session, tools))
    count = min(len(ids), TAIL_TOKENS)
    tail = whole[[name.startswith("tail_") for name in TURN_NAMES]]
    assert tail.sum() == max(2 * count - 1, 0)


def test_a_tool_call_knows_tool_and_arguments() -> None:
    row = tool_call_features(ToolCallFacts("bash", 2, 1, 40, "git"), SessionHistory(), ToolHistory())
    named = dict(zip(CALL_NAMES, row.tolist(), strict=True))
    assert named[f"tool_{bucket('bash', 16)}"] == named[f"head_{bucket('git', 16)}"] == 1
    assert (named["turn"], named["argument_count"], named["argument_bytes"]) == (2, 1, 40)


def test_buckets_are_the_same_in_every_process() -> None:
    code = "from augserve.features.feature import bucket; print(bucket('sql', 16), bucket('\\udc80', 16))"
    command = [sys.executable, "-c", code]
    outputs = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{bucket('sql', 16)} {bucket(chr(0xDC80), 16)}\n"}
