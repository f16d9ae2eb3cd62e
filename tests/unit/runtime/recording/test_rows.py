import numpy as np
import pytest
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import SamplingParams

from augserve.data.tables.files import rows_to_table
from augserve.data.tables.prompt_tail import tail_counts
from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.data.tables.schema import TOOL_CALLS, TURNS
from augserve.features.feature import VERSION
from augserve.features.turn import TURN_FEATURES
from augserve.runtime.recording.rows import Origin, pause_rows, turn_row
from augserve.runtime.sessions.live_turn import LiveTurn, note_arrival, read_hints
from augserve.runtime.sessions.table import Pause, SessionTable
from augserve.runtime.vllm_compat import Request

NAMES = Pseudonyms(bytes(32))
ORIGIN = Origin("live", "v", "llama", NAMES)
UNKNOWN = {"prefix_id", "prefix_tokens", "block_hashes", "block_tokens", "block_scope"}
"""Columns of turns that a server does not fill."""


def arrive(request: Request, sessions: SessionTable, now_s: float) -> tuple[LiveTurn, Pause | None]:
    return note_arrival(request, read_hints(request), sessions, now_s)


def request(number: int, prompt: int, arrival_s: float, **hints: object) -> Request:
    params = SamplingParams(max_tokens=9, temperature=0.5, top_p=0.9, extra_args=dict(hints) or None)
    ids = list(range(1000, 1000 + prompt))
    return Request(f"r{number}", ids, params, None, arrival_time=arrival_s, session_id="s")


def second_turn(**hints: object) -> tuple[LiveTurn, Pause]:
    sessions = SessionTable()
    first, _ = arrive(request(0, 100, 1.0, **hints), sessions, 1.0)
    sessions.turn_finished(first.session_id, 2.0, 100, 20)
    live, pause = arrive(request(1, 150, 5.0, **hints), sessions, 5.0)
    assert pause is not None
    return live, pause


def test_the_second_turn_has_features_of_the_first() -> None:
    sessions = SessionTable()
    first, none = arrive(request(0, 100, 1.0), sessions, 1.0)
    sessions.turn_finished("s", 2.0, 100, 20)
    second, pause = arrive(request(1, 150, 5.0, augserve_last_tool="sql"), sessions, 5.0)
    assert none is None
    assert pause is not None
    assert (first.turn, first.new_tokens) == (0, 100)
    assert (second.turn, second.new_tokens, second.session_id) == (1, 30, "s")
    assert second.features is not None
    assert second.pause_features is not None
    named = dict(zip((feature.name for feature in TURN_FEATURES), second.features, strict=True))
    assert {name: named[name] for name in ("prompt_tokens", "new_tokens", "turn", "max_tokens", "last_pause_s")} == {
        "prompt_tokens": 150,
        "new_tokens": 30,
        "turn": 1,
        "max_tokens": 9,
        "last_pause_s": 3.0,
    }


def test_the_row_of_a_turn_has_all_facts_and_no_text() -> None:
    live, _ = second_turn(augserve_tenant="t", augserve_tools_offered=3)
    live.request.append_output_token_ids([7, 8])
    row = turn_row(live, ORIGIN, 6.0, "stop")
    assert set(TURNS.names) - set(row) == UNKNOWN
    (read,) = rows_to_table("turns", [row]).to_pylist()
    assert live.features is not None
    np.testing.assert_array_equal(read["features"], live.features)
    assert read["features_version"] == VERSION
    assert read["tail_counts"] == list(tail_counts(list(range(1000, 1150))))
    assert read["top_p"] == pytest.approx(0.9)
    assert (read["model"], read["source"], read["scheduler_version"]) == ("llama", "live", "v")
    assert read["tenant"] == NAMES.of("t")
    assert (read["session_id"], read["request_id"]) == (NAMES.of(live.session_id), NAMES.of("r1"))
    assert (read["prompt_tokens"], read["output_tokens"], read["tools_offered"]) == (150, 2, 3)
    assert read["prompt_token_ids"] is None
    assert read["output_token_ids"] is None


@pytest.mark.parametrize(("told", "recorded"), [("p", "p"), ("s", None), (None, None), (7, None)])
def test_the_row_names_the_parent_that_the_caller_names(told: object, recorded: str | None) -> None:
    live, _ = second_turn(augserve_parent_session_id=told)
    (read,) = rows_to_table("turns", [turn_row(live, ORIGIN, 6.0, "stop")]).to_pylist()
    assert read["parent_session_id"] == (None if recorded is None else NAMES.of(recorded))


def test_the_row_has_the_text_on_request() -> None:
    live, _ = second_turn()
    live.request.append_output_token_ids([7, 8])
    (read,) = rows_to_table("turns", [turn_row(live, ORIGIN, 6.0, "stop", text=True)]).to_pylist()
    assert read["prompt_token_ids"] == list(range(1000, 1150))
    assert read["output_token_ids"] == [7, 8]


def test_a_pause_with_one_call_is_one_row() -> None:
    live, pause = second_turn(augserve_last_tool="sql", augserve_argument_bytes=9)
    (row,) = pause_rows(live, pause, ORIGIN)
    assert set(TOOL_CALLS.names) - set(row) == {"agent_session_id"}
    assert (row["turn"], row["call"], row["tool"], row["argument_bytes"]) == (0, 0, "sql", 9)
    assert (row["start_s"], row["duration_s"], row["result_tokens"]) == (2.0, 3.0, 30)


def test_parallel_calls_have_a_row_each_and_share_the_pause() -> None:
    live, pause = second_turn(augserve_last_tool=["sql", "web"], augserve_result_bytes=[100, 200])
    rows = pause_rows(live, pause, ORIGIN)
    assert [(row["call"], row["tool"], row["duration_s"], row["result_tokens"]) for row in rows] == [
        (0, "sql", 3.0, 10),
        (1, "web", 3.0, 20),
    ]
    assert rows_to_table("tool_calls", rows).num_rows == 2


def test_a_pause_without_a_tool_name_has_no_row() -> None:
    assert pause_rows(*second_turn(), ORIGIN) == []


def test_a_pooling_request_has_no_features() -> None:
    pooling = Request("p", [1, 2], None, PoolingParams(), arrival_time=1.0)
    live, _ = arrive(pooling, SessionTable(), 1.0)
    assert live.features is None
    row = turn_row(live, ORIGIN, 2.0, "stop")
    assert row["features_version"] is None
    assert rows_to_table("turns", [row]).num_rows == 1
