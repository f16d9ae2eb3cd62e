import io
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.importers.contract import Context
from augserve.data.importers.otel.importer import import_records
from augserve.data.importers.reading.members import Member
from augserve.data.importers.reading.problems import ImportingError, Problems
from augserve.data.tables.tool_arguments import text_hash

BASE_S = 1_700_000_000
Rows = list[dict[str, Any]]


class Words:
    exact = False

    def count(self, text: str) -> int:
        return len(text.split())

    def ids(self, text: str) -> list[int]:
        return []


def run(*files: bytes, problems: Problems | None = None) -> tuple[Rows, Rows]:
    members = [Member(f"{number}.json", io.BytesIO(data)) for number, data in enumerate(files)]
    turns: Rows = []
    calls: Rows = []
    for name, row in import_records(members, Context(problems or Problems(strict=True), Words())):
        if name == "tool_calls":
            assert (row["session_id"], row["turn"]) in {(turn["session_id"], turn["turn"]) for turn in turns}
        (turns if name == "turns" else calls).append(dict(row))
    return turns, calls


def value(of: object) -> dict[str, Any]:
    if isinstance(of, bool):
        return {"boolValue": of}
    if isinstance(of, int):
        return {"intValue": str(of)}
    if isinstance(of, float):
        return {"doubleValue": of}
    if isinstance(of, list):
        return {"arrayValue": {"values": [value(item) for item in of]}}
    if isinstance(of, dict):
        return {"kvlistValue": {"values": attributes(of)}}
    return {"stringValue": of}


def attributes(of: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(item)} for key, item in of.items()]


def span(name: str, start: float, end: float, trace: str = "t", parent: str = "", **facts: Any) -> dict[str, Any]:
    """`facts` are attributes of gen_ai with `__` for a dot."""
    return {
        "traceId": trace,
        "spanId": name,
        "parentSpanId": parent,
        "name": name,
        "startTimeUnixNano": str(BASE_S * 10**9 + round(start * 1e9)),
        "endTimeUnixNano": str(BASE_S * 10**9 + round(end * 1e9)),
        "attributes": attributes({f"gen_ai.{key.replace('__', '.')}": item for key, item in facts.items()}),
    }


def chat(name: str, start: float, end: float, tokens: tuple[int, int], **more: Any) -> dict[str, Any]:
    usage = {"usage__input_tokens": tokens[0], "usage__output_tokens": tokens[1]}
    return span(name, start, end, **{"operation__name": "chat", **usage, **more})


def tool(name: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    return span(name, start, end, **{"operation__name": "execute_tool", "tool__name": "bash", **more})


def export(*spans: object) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]}


def lines(*batches: object) -> bytes:
    return b"\n".join(json.dumps(batch).encode() for batch in batches)


SPANS = [
    span("agent", 0, 9.0, operation__name="invoke_agent", conversation__id="talk"),
    chat(
        "c1",
        0.5,
        2.0,
        (100, 20),
        parent="agent",
        request__model="m",
        request__max_tokens=512,
        request__temperature=0.5,
        request__top_p=0.9,
        response__finish_reasons=["tool_calls"],
        response__id="r1",
        server__time_to_first_token=0.25,
        usage__cache_read__input_tokens=64,
        tool__definitions='[{"name": "bash"}, {"name": "read"}]',
        output__type="text",
    ),
    tool(
        "x1",
        2.5,
        4.0,
        parent="agent",
        tool__call__arguments='{"command": "cd /x && pytest -q"}',
        tool__call__result="all of it passed",
    ),
    tool("x2", 2.5, 3.0, parent="agent", tool__name="read", tool__call__arguments={"path": "/a/b.py"}),
    chat("c2", 4.5, 8.5, (150, 40), parent="agent", response__finish_reasons=["length"]),
]


def test_llm_calls_are_turns_and_tool_spans_their_calls() -> None:
    problems = Problems()
    turns, calls = run(lines(export(*SPANS)), problems=problems)
    first, second = turns
    assert [(turn["session_id"], turn["turn"]) for turn in turns] == [("talk", 0), ("talk", 1)]
    assert [first[name] - BASE_S for name in ("arrival_s", "first_token_s", "finish_s")] == [0.5, 0.75, 2.0]
    assert "first_token_s" not in second
    expected = {
        "model": "m",
        "request_id": "r1",
        "prompt_tokens": 100,
        "cached_tokens": 64,
        "output_tokens": 20,
        "max_tokens": 512,
        "temperature": 0.5,
        "top_p": 0.9,
        "structured": False,
        "finish_reason": "stop",
        "tools_offered": 2,
    }
    assert {name: first[name] for name in expected} == expected
    assert (second["finish_reason"], second["tools_offered"], second["structured"]) == ("length", None, None)
    assert {first["tool_called"], second["tool_called"]} == {"read", None}  # the one that ended first
    by_tool = {call["tool"]: call for call in calls}
    assert sorted((call["turn"], call["call"]) for call in calls) == [(0, 0), (0, 1)]
    assert by_tool["bash"]["start_s"] - BASE_S == 2.5
    assert (by_tool["bash"]["duration_s"], by_tool["read"]["duration_s"]) == (1.5, 0.5)
    assert (by_tool["bash"]["argument_head"], by_tool["read"]["argument_head"]) == (
        text_hash("pytest"),
        text_hash("b.py"),
    )
    assert (by_tool["bash"]["result_tokens"], by_tool["read"]["result_tokens"]) == (4, None)
    assert {call["timing"] for call in calls} == {"call"}
    assert problems.left_out == {"spans of operation invoke_agent": 1}
    assert not problems.skipped


def test_a_document_over_many_lines_reads_as_json_lines_do() -> None:
    one_line = run(lines(export(*SPANS)))
    assert run(json.dumps(export(*SPANS), indent=2).encode()) == one_line
    assert run(json.dumps(export(*SPANS), indent=2).encode() + b"\n" + lines(export())) == one_line
    assert run(lines(*(export(part) for part in SPANS))) == one_line
    assert run(*(lines(export(part)) for part in SPANS)) == one_line


def test_spans_of_a_conversation_over_several_traces_are_one_session() -> None:
    spans = [
        chat("b", 10, 11, (20, 5), trace="t2", conversation__id="talk"),
        chat("a", 0, 1, (10, 5), trace="t1", conversation__id="talk"),
        tool("x", 2, 3, trace="t1"),
        chat("z", 0, 1, (7, 5), trace="t3"),
    ]
    turns, calls = run(lines(export(*spans)))
    assert [(turn["session_id"], turn["turn"], turn["prompt_tokens"]) for turn in turns] == [
        ("t3", 0, 7),
        ("talk", 0, 10),
        ("talk", 1, 20),
    ]
    assert [(call["session_id"], call["turn"]) for call in calls] == [("talk", 0)]


def test_a_tool_that_starts_with_a_turn_is_a_call_of_it() -> None:
    _, calls = run(lines(export(tool("a", 5, 6), chat("c", 0, 1, (1, 1)), chat("d", 5, 6, (1, 1)))))
    assert [call["turn"] for call in calls] == [1]


def test_older_names_are_read_and_vllms_own_spans() -> None:
    old = span(
        "llm_request",
        0,
        3,
        usage__prompt_tokens=100,
        usage__completion_tokens=20,
        latency__time_to_first_token=0.5,
        request__id="r1",
    )
    [turn], _ = run(lines(export(old)))
    assert (turn["prompt_tokens"], turn["output_tokens"], turn["request_id"]) == (100, 20, "r1")
    assert turn["first_token_s"] - turn["arrival_s"] == 0.5


def test_an_llm_call_within_an_llm_call_counts_once() -> None:
    problems = Problems(strict=True)
    turns, _ = run(
        lines(export(chat("in", 0.1, 0.9, (10, 5), parent="out"), chat("out", 0, 1, (10, 5)))), problems=problems
    )
    assert [turn["finish_s"] - BASE_S for turn in turns] == [1.0]
    assert problems.left_out == {"LLM calls within an LLM call: the outer one counts": 1}


def test_a_failed_call_is_noted_or_a_turn_that_failed() -> None:
    problems = Problems(strict=True)
    failed = {**span("f", 0, 1, operation__name="chat"), "status": {"code": 2}}
    half = {**chat("h", 2, 3, (10, 1)), "status": {"code": "STATUS_CODE_ERROR"}}
    turns, _ = run(lines(export(failed, half)), problems=problems)
    assert [turn["finish_reason"] for turn in turns] == ["error"]
    assert problems.left_out == {"failed LLM calls without token counts": 1}


GOOD = chat("good", 0, 1, (10, 5))


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (7, "span is no object"),
        ({**GOOD, "spanId": ""}, "span without traceId or spanId"),
        ({**GOOD, "spanId": "b", "startTimeUnixNano": "soon"}, "span without startTimeUnixNano"),
        ({**GOOD, "spanId": "b", "endTimeUnixNano": "0"}, "endTimeUnixNano is no time"),
        (span("b", 2, 3, operation__name="chat"), "LLM call without its token counts"),
        ({**tool("", 2, 3, tool__name=""), "spanId": "b"}, "tool span without the tool's name"),
        (tool("b", 2, 3, trace="alone"), "tool span before any LLM call of its session"),
        (GOOD, "span of the same ids as an earlier one"),
    ],
)
def test_a_malformed_span_is_named_and_the_rest_imported(bad: object, cause: str) -> None:
    problems = Problems()
    turns, _ = run(lines(export(GOOD), export(bad), export(chat("c", 5, 6, (1, 1)))), problems=problems)
    assert problems.named == [f"0.json:2: {cause}"]
    assert len(turns) == 2
    with pytest.raises(ImportingError, match=r"0\.json:2"):
        run(lines(export(GOOD), export(bad)), problems=Problems(strict=True))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (lines(export(GOOD))[:-3] + b"\n" + lines(export(chat("c", 5, 6, (1, 1)))), "0.json:1: not valid JSON"),
        (b"\xff\n" + lines(export(GOOD)), "0.json:1: not UTF-8"),
        (b"[]\n" + lines(export(GOOD)), "0.json:1: no export of spans: not an object with resourceSpans"),
        (
            json.dumps(export(GOOD, chat("c", 5, 6, (1, 1))), indent=1).encode()[:-200],
            "0.json: after span 1: not valid JSON",
        ),
        (b'{\n"a": 1}', "0.json: no export of spans: not an object with resourceSpans"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_imported(data: bytes, named: str) -> None:
    problems = Problems()
    run(data, lines(export(chat("other", 9, 10, (3, 3), trace="u"))), problems=problems)
    assert problems.named == [named]
    assert sum(problems.skipped.values()) == 1


def test_odd_values_do_no_harm() -> None:
    odd = chat("o", 0, 1, (10, 5), conversation__id="\ud800", response__finish_reasons=[], request__max_tokens=-1)
    odd["attributes"] += [7, {"key": 3}, {"key": "x"}, {"key": "y", "value": {"intValue": "9" * 5000}}]
    [turn], _ = run(lines(export(odd)))
    assert turn["max_tokens"] is None
    assert turn["session_id"] == "\\ud800"


_SESSIONS = st.lists(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 3)), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)


@given(_SESSIONS, st.randoms(use_true_random=False), st.integers(1, 5))
def test_spans_in_any_order_give_the_same_rows(
    sessions: Sequence[Sequence[tuple[int, int, int]]], shuffle: random.Random, batch: int
) -> None:
    spans, expected_turns, expected_calls = [], [], []
    for number, session in enumerate(sessions):
        clock = 1.0
        for turn, (length_us, gap_us, calls) in enumerate(session):
            end = clock + length_us / 1e6
            spans.append(chat(f"c{turn}", clock, end, (turn, number), trace=f"t{number}"))
            expected_turns.append((f"t{number}", turn, turn, number, round(length_us / 1e6, 6)))
            for call in range(calls):
                spans.append(tool(f"x{turn}.{call}", end, end + gap_us / 1e6, trace=f"t{number}"))
                expected_calls.append((f"t{number}", turn, call, round(gap_us / 1e6, 6)))
            clock = end + gap_us / 1e6 + 1e-6
    shuffle.shuffle(spans)
    batches = [export(*spans[at : at + batch]) for at in range(0, len(spans), batch)]
    turns, calls_found = run(lines(*batches))
    assert [
        (
            *(row[name] for name in ("session_id", "turn", "prompt_tokens", "output_tokens")),
            round(row["finish_s"] - row["arrival_s"], 6),
        )
        for row in turns
    ] == expected_turns
    assert [
        (row["session_id"], row["turn"], row["call"], round(row["duration_s"], 6)) for row in calls_found
    ] == expected_calls


def agent(name: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    return span(name, start, end, **{"operation__name": "invoke_agent", "agent__name": f"the {name}", **more})


def tree(turns: Rows) -> dict[str, tuple[str | None, str | None]]:
    """Parent and split group by session."""
    return {turn["session_id"]: (turn["parent_session_id"], turn["split_group"]) for turn in turns}


def test_an_agent_below_a_tool_is_a_child_session_that_the_tools_call_runs() -> None:
    turns, calls = run(
        lines(
            export(
                agent("main", 0, 20, conversation__id="talk"),
                chat("c1", 0, 1, (10, 5), parent="main"),
                tool("x", 2, 10, parent="main"),
                agent("sub", 3, 9, parent="x", conversation__id="talk"),  # it names the same conversation
                chat("c2", 3, 4, (7, 5), parent="sub", conversation__id="talk"),
                tool("y", 5, 6, parent="sub"),
                chat("c3", 7, 8, (9, 5), parent="sub"),
                chat("c4", 11, 12, (30, 5), parent="main"),
            )
        ),
        problems=Problems(),
    )
    assert tree(turns) == {"talk": (None, None), "talk/sub": ("talk", "talk")}
    assert [(turn["session_id"], turn["turn"]) for turn in turns] == [
        ("talk", 0),
        ("talk", 1),
        ("talk/sub", 0),
        ("talk/sub", 1),
    ]
    assert [(call["session_id"], call["turn"], call["tool"], call["agent_session_id"]) for call in calls] == [
        ("talk", 0, "bash", "talk/sub"),
        ("talk/sub", 0, "bash", None),
    ]


def test_an_agent_below_an_agent_is_a_child_session_and_a_call_of_its_own() -> None:
    turns, calls = run(
        lines(
            export(
                agent("main", 0, 20, conversation__id="talk"),
                chat("c1", 0, 1, (10, 5), parent="main"),
                agent("one", 2, 5, parent="main"),
                chat("c2", 3, 4, (7, 5), parent="one"),
                agent("two", 2, 6, parent="main", conversation__id="other"),
                chat("c3", 3, 5, (7, 5), parent="two"),
                agent("deep", 5, 6, parent="two"),
                chat("c4", 5, 6, (8, 5), parent="deep"),
            )
        ),
        problems=Problems(),
    )
    assert tree(turns) == {
        "talk": (None, None),
        "talk/one": ("talk", "talk"),
        "other": ("talk", "talk"),
        "other/deep": ("other", "talk"),
    }
    assert {(call["session_id"], call["tool"], call["duration_s"], call["agent_session_id"]) for call in calls} == {
        ("talk", "the one", 3.0, "talk/one"),
        ("talk", "the two", 4.0, "other"),
        ("other", "the deep", 1.0, "other/deep"),
    }


def test_two_agents_of_one_tool_are_two_calls() -> None:
    spans = [agent("main", 0, 20), chat("c1", 0, 1, (10, 5), parent="main"), tool("x", 2, 10, parent="main")]
    for name, start in (("late", 4), ("early", 3)):
        spans += [agent(name, start, 9, parent="x"), chat(f"c-{name}", start, 5, (7, 5), parent=name)]
    turns, calls = run(lines(export(*spans)), problems=Problems())
    assert {parent for parent, _ in tree(turns).values()} == {None, "t"}
    assert {call["tool"]: call["agent_session_id"] for call in calls} == {"bash": "t/early", "the late": "t/late"}


def test_conversations_beside_each_other_in_a_trace_are_no_tree() -> None:
    spans = [span("server", 0, 9), chat("a", 0, 1, (10, 5), parent="server", conversation__id="one")]
    spans += [chat("b", 2, 3, (10, 5), parent="server", conversation__id="two")]
    assert tree(run(lines(export(*spans)), problems=Problems())[0]) == {"one": (None, None), "two": (None, None)}


def test_spans_whose_parents_form_a_circle_are_kept_and_counted() -> None:
    problems = Problems()
    spans = [agent("a", 0, 9, parent="b"), chat("b", 0, 1, (10, 5), parent="a"), chat("c", 2, 3, (10, 5), parent="c")]
    turns, _ = run(lines(export(*spans)), problems=problems)
    assert tree(turns) == {"t": (None, None)}
    assert problems.left_out["spans whose parents form a circle: without a place in a tree"] == 3


def test_a_tool_around_an_agent_does_not_run_the_agents_own_agents() -> None:
    spans = [chat("c0", 0, 1, (10, 5)), tool("x", 1, 9), agent("one", 2, 8, parent="x")]
    spans += [chat("c1", 2, 3, (7, 5), parent="one"), agent("a two", 2, 7, parent="one")]  # they begin together
    turns, calls = run(lines(export(*spans, chat("c2", 4, 5, (7, 5), parent="a two"))), problems=Problems())
    assert tree(turns) == {"t": (None, None), "t/one": ("t", "t"), "t/one/a two": ("t/one", "t")}
    assert {(call["session_id"], call["tool"]): call["agent_session_id"] for call in calls} == {
        ("t", "bash"): "t/one",
        ("t/one", "the a two"): "t/one/a two",
    }


@pytest.mark.parametrize("huge", [10**400, -(10**400), 1 << 63])
def test_a_number_beyond_int64_is_an_unknown_value(huge: int) -> None:
    turn = chat("a", 0, 1, (5, 5), server__time_to_first_token=huge, request__temperature=huge)
    (row,), _ = run(lines(export(turn)))
    assert row.get("first_token_s") is None
    assert row["temperature"] is None
