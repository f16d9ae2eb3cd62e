import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.importers.contract import Context
from augserve.data.importers.kv_cache_tester.importer import import_records
from augserve.data.importers.reading.members import Member, open_members
from augserve.data.importers.reading.problems import ImportingError, Problems

REAL = Path(__file__).parents[6] / "shared" / "data" / "kv-cache-sessions" / "sessions.tar.xz"


class NoText:
    exact = False

    def count(self, text: str) -> int:
        raise AssertionError(f"there is no text to count: {text!r}")

    def ids(self, text: str) -> list[int]:
        raise AssertionError(f"there is no text to count: {text!r}")


Rows = list[dict[str, Any]]


def run(*sessions: object, problems: Problems | None = None) -> tuple[Rows, Rows]:
    members = [
        Member(f"{number}.json", io.BytesIO(session if isinstance(session, bytes) else json.dumps(session).encode()))
        for number, session in enumerate(sessions)
    ]
    turns: Rows = []
    calls: Rows = []
    for name, row in import_records(members, Context(problems or Problems(strict=True), NoText(), "set")):
        if name == "tool_calls":
            assert (row["session_id"], row["turn"]) in {(turn["session_id"], turn["turn"]) for turn in turns}
        (turns if name == "turns" else calls).append(dict(row))
    return turns, calls


def request(t: float, tokens: int, out: int, blocks: list[int], **more: object) -> dict[str, Any]:
    return {"t": t, "type": "n", "model": "m", "in": tokens, "out": out, "hash_ids": blocks, **more}


SESSION = {
    "id": "one",
    "block_size": 64,
    "requests": [
        request(0.0, 130, 20, [1, 2], input_types=["text"], stop="tool_use", api_time=4.5),
        request(7.0, 200, 30, [1, 2, 3], input_types=["tool_result"], stop="end_turn", api_time=2.0, ttft=0.5),
        request(60.0, 300, 10, [1, 9, 10, 11], input_types=["text"], stop="max_tokens"),
    ],
}


def test_requests_are_turns_with_their_times_and_cached_prefix() -> None:
    turns, _ = run(SESSION)
    assert [
        [turn[name] for name in ("session_id", "split_group", "turn", "arrival_s", "first_token_s", "finish_s")]
        for turn in turns
    ] == [
        ["one", "one", 0, 0.0, None, 4.5],
        ["one", "one", 1, 7.0, 7.5, 9.0],
        ["one", "one", 2, 60.0, None, None],
    ]
    assert [
        [turn[name] for name in ("prompt_tokens", "cached_tokens", "output_tokens", "finish_reason", "tool_called")]
        for turn in turns
    ] == [[130, None, 20, "stop", "unknown"], [200, 128, 30, "stop", None], [300, 64, 10, "length", None]]


def test_a_pause_that_brings_a_result_is_a_call_of_an_unknown_tool() -> None:
    _, calls = run(SESSION)
    assert calls == [
        {
            "session_id": "one",
            "turn": 0,
            "call": 0,
            "tool": "unknown",
            "start_s": 4.5,
            "duration_s": 2.5,
            "timing": "pause",
            "result_tokens": 50,
        }
    ]


def test_without_api_time_the_pause_is_the_think_time() -> None:
    requests = [
        request(0.0, 10, 5, [], stop="tool_use"),
        request(9.0, 20, 5, [], input_types=["tool_result"], think_time=3.0),
    ]
    _, calls = run({"id": "one", "requests": requests})
    assert [(call["start_s"], call["duration_s"]) for call in calls] == [(6.0, 3.0)]
    problems = Problems()
    del requests[1]["think_time"]
    assert run({"id": "one", "requests": requests}, problems=problems)[1] == []
    assert problems.left_out == {"tool pauses of unknown length": 1}


def test_sub_agents_are_sessions_and_calls_of_their_own() -> None:
    def agent(name: str, end_s: float, duration_ms: float) -> dict[str, Any]:
        inner = [request(0.0, 50, 5, [], api_time=1.0), request(2.0, 60, 5, [], api_time=1.0)]
        return {
            "t": end_s,
            "type": "subagent",
            "agent_id": name,
            "duration_ms": duration_ms,
            "requests": inner,
        }

    first = request(10.0, 100, 5, [], stop="tool_use", api_time=4.0)
    last = request(30.0, 120, 5, [], input_types=["tool_result"], api_time=4.0)
    turns, calls = run({"id": "one", "requests": [first, agent("a", 20.0, 5000), agent("b", 28.0, 13_500), last]})
    assert {(turn["session_id"], turn["turn"], turn["arrival_s"]) for turn in turns} == {
        ("one", 0, 10.0),
        ("one", 1, 30.0),
        ("one/a", 0, 15.0),
        ("one/a", 1, 17.0),
        ("one/b", 0, 14.5),
        ("one/b", 1, 16.5),
    }
    assert {turn["split_group"] for turn in turns} == {"one"}
    assert {(turn["session_id"], turn["parent_session_id"]) for turn in turns} == {
        ("one", None),
        ("one/a", "one"),
        ("one/b", "one"),
    }
    columns = ("turn", "call", "tool", "start_s", "duration_s", "timing", "agent_session_id")
    assert [tuple(call[name] for name in columns) for call in calls] == [
        (0, 0, "subagent", 15.0, 5.0, "call", "one/a"),
        (0, 1, "subagent", 14.5, 13.5, "call", "one/b"),
    ]


def test_times_of_a_whole_session_are_told_from_times_since_a_sub_agents_start() -> None:
    def session(t: float, *inner_t: float) -> dict[str, Any]:
        inner = [request(at, 50, 5, [], api_time=1.0) for at in inner_t]
        agent = {"t": t, "type": "subagent", "agent_id": "a", "duration_ms": 5000, "requests": inner}
        first = request(10.0, 100, 5, [], stop="tool_use", api_time=4.0)
        return {"id": "one", "requests": [first, agent, request(30.0, 120, 5, [], input_types=["tool_result"])]}

    of_the_session = run(session(15.0, 15.0, 17.0))  # `t` is the sub-agent's start
    since_the_start = run(session(20.0, 0.0, 2.0))  # `t` is its end
    assert of_the_session == since_the_start


def test_sub_agents_of_sub_agents_are_children_of_theirs() -> None:
    def agent(t: float, duration_ms: float | None, *inner: object) -> dict[str, Any]:
        return {"t": t, "type": "subagent", "agent_id": "a", "duration_ms": duration_ms, "requests": list(inner)}

    def call(t: float) -> dict[str, Any]:
        return request(t, 50, 5, [], api_time=1.0, stop="tool_use")

    nested = agent(10.0, None, call(10.0), agent(11.0, None, call(11.0), call(15.0)), call(20.0))
    again, empty = agent(10.0, 3000.0, call(12.0)), agent(10.0, 3000.0)
    turns, calls = run({"id": "one", "requests": [call(0.0), nested, again, empty, call(30.0)]})
    parents = {turn["session_id"]: turn["parent_session_id"] for turn in turns}
    assert parents == {"one": None, "one/a": "one", "one/a/a": "one/a", "one/a:2": "one"}
    assert {turn["split_group"] for turn in turns} == {"one"}
    found = {(call["session_id"], call["agent_session_id"]): (call["start_s"], call["duration_s"]) for call in calls}
    assert found == {
        ("one", "one/a"): (10.0, 11.0),  # until its last request ends
        ("one/a", "one/a/a"): (11.0, 5.0),
        ("one", "one/a:2"): (10.0, 3.0),
        ("one", None): (10.0, 3.0),
    }


def test_block_hashes_and_the_shared_prefix_have_the_scope_of_their_file() -> None:
    inner = [request(0.0, 150, 5, [7, 8], api_time=1.0)]
    agent = {"t": 3.0, "type": "subagent", "duration_ms": 2000, "requests": inner}
    agent |= {"system_tokens": 100, "tool_tokens": 40}
    requests = [request(0.0, 150, 5, [7, 8], api_time=1.0), agent, request(5.0, 200, 5, [7, 9, 1 << 63])]
    session = {"id": "one", "block_size": 64, "system_tokens": 140, "hash_id_scope": "local", "requests": requests}
    turns, _ = run(session, session, {**session, "hash_id_scope": "global"})
    assert [turn["block_hashes"] for turn in turns[:3]] == [(7, 8), (7, 8), (7, 9, -(1 << 63))]
    assert {turn["block_tokens"] for turn in turns} == {64}
    assert [turn["block_scope"] for turn in turns] == ["one"] * 3 + ["one:2"] * 3 + ["set"] * 3
    assert {turn["prefix_tokens"] for turn in turns} == {140}
    inside, first, changed = (turn["prefix_id"] for turn in turns[:3])
    assert inside == first != changed
    assert len({turn["prefix_id"] for turn in turns}) == 6  # nothing is known to be equal in two files


def test_a_prefix_longer_than_the_prompt_is_not_the_prompts() -> None:
    turns, _ = run({"id": "one", "system_tokens": 100, "requests": [request(0.0, 99, 5, []), request(1.0, 100, 5, [])]})
    assert [(turn.get("prefix_tokens"), turn.get("prefix_id")) for turn in turns] == [(None, None), (100, None)]


def test_a_pause_below_the_clocks_resolution_is_none() -> None:
    requests = [
        request(0.0, 10, 5, [], stop="tool_use", api_time=9.5),
        request(9.0, 20, 5, [], input_types=["tool_result"]),
    ]
    problems = Problems(strict=True)
    assert run({"id": "one", "requests": requests}, problems=problems)[1][0]["duration_s"] == 0.0
    assert sum(problems.left_out.values()) == 1


BAD = [
    (7, "request is no object"),
    ({}, "request without t"),
    (request(-1.0, 10, 5, []), "t is negative or no number"),
    (request(1.0, 10, 5, [], api_time=-2.0), "api_time is negative or no number"),
    (request(1.0, 10, 5, [], api_time="soon"), "api_time is negative or no number"),
    (request(1.0, -10, 5, []), "in is no number of tokens"),
    (request(1.0, 10, 1 << 31, []), "out is no number of tokens"),
    ({**request(1.0, 10, 5, []), "hash_ids": ["a"]}, "hash_ids is no list of numbers"),
    ({"t": 3.0, "type": "subagent"}, "subagent without duration_ms or requests"),
    ({"t": 3.0, "type": "subagent", "requests": [], "tool_tokens": -1}, "subagent without duration_ms or requests"),
    (
        {"t": 3.0, "type": "subagent", "requests": [{"t": 0}], "tool_tokens": -1},
        "tool_tokens is no number of tokens",
    ),
    (request(1.0, 10, 5, []), "the clock goes backwards: t before that of the request before"),
    (request(5.0, 10, 5, [], input_types=["tool_result"]), "overlaps the request whose tool result it brings"),
]


@pytest.mark.parametrize(("value", "cause"), BAD)
def test_a_malformed_request_is_named_and_the_rest_imported(value: object, cause: str) -> None:
    problems = Problems()
    session = {
        "id": "one",
        "requests": [request(3.0, 10, 5, [], stop="tool_use", api_time=6.0), value, request(20.0, 10, 5, [])],
    }
    turns, _ = run(session, SESSION, problems=problems)
    assert problems.skipped == {cause: 1}
    assert problems.named == [f"0.json: request 1: {cause}"]
    assert {turn["arrival_s"] for turn in turns if turn["session_id"] == "one"} >= {3.0, 20.0}
    assert len({turn["session_id"] for turn in turns}) == 2
    with pytest.raises(ImportingError, match="request 1"):
        run(session, problems=Problems(strict=True))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"{", "not valid JSON in UTF-8"),
        (b"", "not valid JSON in UTF-8"),
        (b'"\xff"', "not valid JSON in UTF-8"),
        (b"[" * 100_000, "not valid JSON in UTF-8"),
        ([], "no session: not an object with requests"),
        ({"id": "x"}, "no session: not an object with requests"),
        ({"id": "x", "block_size": 0, "requests": []}, "block_size is no positive number"),
    ],
)
def test_a_file_that_is_no_session_is_named_and_the_rest_imported(content: object, cause: str) -> None:
    problems = Problems()
    turns, _ = run(content, SESSION, problems=problems)
    assert problems.named == [f"0.json: {cause}"]
    assert len(turns) == 3


def test_a_session_id_that_a_later_file_repeats_is_told_apart() -> None:
    turns, _ = run(SESSION, SESSION)
    assert [turn["session_id"] for turn in turns] == ["one"] * 3 + ["one:2"] * 3
    assert {turn["split_group"] for turn in turns} == {"one"}


_REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 30),  # whole seconds from the end of the one before
        st.floats(0.0, 100.0),  # api_time
        st.integers(0, 500),
        st.integers(0, 500),
        st.lists(st.integers(0, 3), max_size=6),
        st.booleans(),
    ),
    max_size=12,
)


@given(_REQUESTS)
def test_no_request_is_lost_or_doubled_and_times_are_kept(
    drawn: list[tuple[int, float, int, int, list[int], bool]],
) -> None:
    requests, t = [], 0.0
    for gap_s, api_s, tokens, out, blocks, calls in drawn:
        t += gap_s
        requests.append(
            request(
                t,
                tokens,
                out,
                blocks,
                api_time=api_s,
                stop="tool_use" if calls else "end_turn",
                input_types=["tool_result"],
            )
        )
        t += api_s
    turns, pauses = run({"id": "one", "requests": requests})
    assert [turn["turn"] for turn in turns] == list(range(len(requests)))
    assert [turn["arrival_s"] for turn in turns] == [value["t"] for value in requests]
    assert [turn["finish_s"] - turn["arrival_s"] for turn in turns] == pytest.approx(
        [value["api_time"] for value in requests]
    )
    assert [(turn["prompt_tokens"], turn["output_tokens"]) for turn in turns] == [
        (value["in"], value["out"]) for value in requests
    ]
    assert all((turn["cached_tokens"] or 0) <= turn["prompt_tokens"] for turn in turns)
    calling = [number for number, value in enumerate(requests[:-1]) if value["stop"] == "tool_use"]
    assert [call["turn"] for call in pauses] == calling
    gaps = [requests[number + 1]["t"] - turns[number]["finish_s"] for number in calling]
    assert [call["duration_s"] for call in pauses] == pytest.approx([max(gap, 0.0) for gap in gaps], abs=1e-9)


@pytest.mark.skipif(not REAL.exists(), reason="the public traces are not here")
def test_the_public_traces_are_read_whole() -> None:
    problems = Problems(strict=True)
    turns: Rows = []
    calls: Rows = []
    context = Context(problems, NoText())
    for name, row in import_records(open_members([REAL], (".json",)), context):
        (turns if name == "turns" else calls).append(dict(row))
    assert (len(turns), len(calls)) == (8013 + 65, 6936)
    assert len({turn["session_id"] for turn in turns}) == 119 + 9
    assert len({turn["split_group"] for turn in turns}) == 119
    assert sum(call["tool"] == "subagent" for call in calls) == 9
    children = {turn["session_id"]: turn["parent_session_id"] for turn in turns if turn["parent_session_id"]}
    assert children == {call["agent_session_id"]: call["session_id"] for call in calls if call.get("agent_session_id")}
    assert (len(children), len(set(children.values()))) == (9, 4)
    assert all(len(turn["block_hashes"]) == turn["prompt_tokens"] // 64 for turn in turns)
    assert sum(problems.left_out.values()) == 8
    assert np.median([turn["prompt_tokens"] for turn in turns]) == 107_713
    assert all((turn["cached_tokens"] or 0) <= turn["prompt_tokens"] for turn in turns)
