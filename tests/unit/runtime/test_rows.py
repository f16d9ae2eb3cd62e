import numpy as np
import pytest
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import SamplingParams

from augserve.data.schema import TOOL_CALLS, TURNS
from augserve.features.tool_call import TOOL_CALL_FEATURES
from augserve.features.turn import TURN_FEATURES
from augserve.runtime.rows import pause_row, turn_row
from augserve.runtime.sessions import SessionTable
from augserve.runtime.turns import arrived
from augserve.runtime.vllm_compat import Request


def request(number: int, prompt: int, arrival_s: float, **hints: object) -> Request:
    params = SamplingParams(max_tokens=9, temperature=0.5, extra_args=dict(hints) or None)
    return Request(f"r{number}", [5] * prompt, params, None, arrival_time=arrival_s, session_id="s")


def test_the_second_turn_knows_the_first() -> None:
    sessions = SessionTable()
    first, none = arrived(request(0, 100, 1.0), sessions, 1.0)
    sessions.turn_finished("s", 2.0, 100, 20)
    second, pause = arrived(request(1, 150, 5.0, augserve_last_tool="sql"), sessions, 5.0)
    assert none is None
    assert pause is not None
    assert (first.turn, first.new_tokens) == (0, 100)
    assert (second.turn, second.new_tokens, second.session_id) == (1, 30, "s")
    assert second.features is not None
    assert second.pause_features is not None
    named = dict(zip((feature.name for feature in TURN_FEATURES), second.features, strict=True))
    assert {name: named[name] for name in ("prompt_tokens", "new_tokens", "turn", "max_tokens", "last_tool_s")} == {
        "prompt_tokens": 150,
        "new_tokens": 30,
        "turn": 1,
        "max_tokens": 9,
        "last_tool_s": 3.0,
    }
    tool = dict(zip((feature.name for feature in TOOL_CALL_FEATURES), second.pause_features, strict=True))
    assert (tool["turn"], tool["last_tool_s"]) == (1, 3.0)
    assert tool["tool_log_s"] == pytest.approx(np.log(3.0))


def test_rows_have_the_columns_of_their_tables() -> None:
    sessions = SessionTable()
    arrived(request(0, 100, 1.0), sessions, 1.0)
    sessions.turn_finished("s", 2.0, 100, 20)
    live, pause = arrived(request(1, 150, 5.0, augserve_last_tool="sql"), sessions, 5.0)
    assert pause is not None
    row = pause_row(live, pause, "live")
    assert row is not None
    assert list(row) == TOOL_CALLS.names
    assert (row["turn"], row["tool"], row["result_tokens"]) == (0, "sql", 30)
    assert list(turn_row(live, "live", "v", 6.0, "stop")) == TURNS.names


def test_a_pause_without_a_tools_name_has_no_row() -> None:
    sessions = SessionTable()
    arrived(request(0, 100, 1.0), sessions, 1.0)
    sessions.turn_finished("s", 2.0, 100, 20)
    live, pause = arrived(request(1, 150, 5.0), sessions, 5.0)
    assert pause is not None
    assert pause_row(live, pause, "live") is None


def test_a_pooling_request_is_taken_without_features() -> None:
    pooling = Request("p", [1, 2], None, PoolingParams(), arrival_time=1.0)
    live, _ = arrived(pooling, SessionTable(), 1.0)
    assert live.features is None
    assert turn_row(live, "live", "v", 2.0, "stop")["features_version"] is None
