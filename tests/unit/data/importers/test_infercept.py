import io
import json
from typing import Any

import pytest

from augserve.data.importers import infercept
from augserve.data.importers.contract import Context, Record
from augserve.data.importers.infercept import NOMINAL_TOKEN_S, import_records
from augserve.data.importers.reading.members import Member
from augserve.data.importers.reading.problems import Problems
from augserve.data.importers.token_counter import EstimatedTokens

COUNTED = {"prompt_tokens": 392, "completion_tokens": 100, "api_time": 0.5, "api_token_length": 21}
WITH_TEXT = ("chatbot", "tts", "image")
LAST = {"prompt_tokens": 513, "completion_tokens": 50}


def text_session(first: str = "a question") -> list[dict[str, Any]]:
    return [
        {"prompt": first, "completion": "an answer", "api_token": "read it out", "api_time": 4.0},
        {"prompt": f"{first}…", "completion": "done", "api_token": "and then?", "api_time": 30.0},
        {"prompt": f"{first}……", "completion": "that was all"},
    ]


def records(content: bytes, problems: Problems) -> list[Record]:
    context = Context(problems, EstimatedTokens())
    return list(import_records([Member("m.json", io.BytesIO(content))], context))


def of(name: str, found: list[Record]) -> list[dict[str, Any]]:
    return [dict(row) for table, row in found if table == name]


def published() -> dict[str, Any]:
    """As many sessions as the published file has, text where it has text."""
    kinds = [infercept._kind_at(place) for place in range(397)]
    return {
        f"{place}": text_session(f"question {place - start}")
        if kind in ("chatbot", "tts", "image")
        else [COUNTED, LAST]
        for place, kind in enumerate(kinds)
        for start in [kinds.index(kind)]
    }


def test_segments_are_turns_and_sessions_follow_one_another_at_a_nominal_pace() -> None:
    found = records(json.dumps({"x": [COUNTED, LAST], "y": [LAST]}).encode(), Problems())
    turns, (call,) = of("turns", found), of("tool_calls", found)
    assert [(row["session_id"], row["turn"], row["prompt_tokens"]) for row in turns] == [
        ("x", 0, 392),
        ("x", 1, 513),
        ("y", 0, 513),
    ]
    first_s, last_s = 100 * NOMINAL_TOKEN_S, 50 * NOMINAL_TOKEN_S
    assert [row["arrival_s"] for row in turns] == [0.0, first_s + 0.5, first_s + 0.5 + last_s]
    assert (call["start_s"], call["duration_s"], call["result_tokens"]) == (first_s, 0.5, 21)


def test_only_a_file_of_the_published_shape_tells_the_tools() -> None:
    sessions = published()
    calls = of("tool_calls", records(json.dumps(sessions).encode(), Problems()))
    tools = {place: [call["tool"] for call in calls if call["session_id"] == str(place)] for place in range(397)}
    assert tools[0] == tools[97] == ["math"]
    assert tools[98] == tools[162] == ["chatbot", "chatbot"]
    assert (tools[163], tools[278]) == (["qa"], ["ve"])
    assert tools[213] == tools[277] == ["tts", "chatbot"]
    assert tools[332] == tools[396] == ["image", "chatbot"]
    for other in (dict(list(sessions.items())[:-1]), sessions | {"more": [COUNTED]}, sessions | {"3": text_session()}):
        assert {call["tool"] for call in of("tool_calls", records(json.dumps(other).encode(), Problems()))} == {
            "unknown"
        }


def test_the_pauses_of_a_chat_are_marked_as_modelled() -> None:
    calls = of("tool_calls", records(json.dumps(published()).encode(), Problems()))
    assert {(call["tool"] == "chatbot", call["timing"]) for call in calls} == {(True, "modelled"), (False, "call")}


def test_sessions_of_one_conversation_share_a_split_group_without_its_text() -> None:
    turns = of("turns", records(json.dumps(published()).encode(), Problems()))
    groups = {row["session_id"]: row["split_group"] for row in turns}
    assert groups["98"] == groups["213"] == groups["332"] != groups["99"]
    assert groups["0"] is None
    assert "question" not in groups["98"]


@pytest.mark.parametrize(
    ("segment", "cause"),
    [
        ({**COUNTED, "api_time": -1}, "negative duration (api_time)"),
        ({**COUNTED, "api_time": "long"}, "an api_time that is no number"),
        ({"prompt_tokens": 5}, "no completion_tokens as a number, and no text to count"),
        ({**COUNTED, "prompt_tokens": -5}, "no prompt_tokens as a number, and no text to count"),
        ("text", "not a list of segments"),
    ],
)
def test_a_session_with_a_malformed_segment_is_skipped_whole(segment: object, cause: str) -> None:
    problems = Problems()
    found = records(json.dumps({"x": [COUNTED, segment, LAST], "y": [LAST]}).encode(), problems)
    assert {row["session_id"] for _, row in found} == {"y"}
    assert problems.named == [f"m.json: session 'x': {cause}"]


def test_a_negative_result_length_is_not_known() -> None:
    problems = Problems()
    found = records(json.dumps({"x": [{**COUNTED, "api_token_length": -2}, LAST]}).encode(), problems)
    assert [call["result_tokens"] for call in of("tool_calls", found)] == [None]
    assert problems.left_out.total() == 1


@pytest.mark.parametrize("rest", [b', "y": [{"prompt_tokens"', b', "y": ["caf\xe9"]}'])
def test_broken_json_is_named_and_what_came_before_is_kept(rest: bytes) -> None:
    problems = Problems()
    found = records(json.dumps({"x": [LAST]}).encode()[:-1] + rest, problems)
    assert {row["session_id"] for _, row in found} == {"x"}
    assert problems.named == ["after m.json: session 'x': not valid JSON: the rest of the file"]
