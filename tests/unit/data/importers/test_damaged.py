"""Whatever the records of a file hold, they are imported or counted, and no other error ends the import."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.data.importers.formats import FORMATS
from augserve.data.importers.reading.problems import ImportingError
from augserve.data.importers.run import import_traces
from augserve.data.tables.files import rows_to_table, write_table

from ....damage import damaged

STAMP = "2026-02-07T01:00:0{}.000Z"
SPAN = {
    "traceId": "t",
    "spanId": "s",
    "parentSpanId": "p",
    "name": "execute_tool bash",
    "startTimeUnixNano": "1700000000000000000",
    "endTimeUnixNano": "1700000001000000000",
    "status": {"code": 2},
    "attributes": [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "20"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"doubleValue": 5.0}},
        {"key": "gen_ai.server.time_to_first_token", "value": {"doubleValue": 0.1}},
        {"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": {"values": [{"stringValue": "stop"}]}}},
        {"key": "gen_ai.request.temperature", "value": {"doubleValue": 0.5}},
    ],
}
CALL = {**SPAN, "spanId": "c", "parentSpanId": "s", "attributes": [
    {"key": "gen_ai.operation.name", "value": {"stringValue": "execute_tool"}},
    {"key": "gen_ai.tool.call.arguments", "value": {"stringValue": '{"command": "ls -l"}'}},
]}  # fmt: skip
REQUEST = {"t": 0.5, "type": "n", "model": "m", "in": 130, "out": 5, "hash_ids": [1, 2], "api_time": 1.0, "ttft": 0.2}
REQUEST |= {"stop": "tool_use", "input_types": ["tool_result"], "output_types": ["tool_use"], "think_time": 1}
USE = {"type": "tool_use", "id": "u", "name": "Bash", "input": {"command": "ls -l"}}
SOUND: dict[str, Any] = {
    "claude-code": [
        {"type": "user", "sessionId": "s", "uuid": "1", "timestamp": STAMP.format(1), "message": {"content": "fix it"}},
        {
            "type": "assistant",
            "sessionId": "s",
            "uuid": "2",
            "parentUuid": "1",
            "timestamp": STAMP.format(2),
            "message": {
                "id": "m",
                "model": "m",
                "content": [{"type": "text", "text": "look"}, USE],
                "usage": {"input_tokens": 20, "cache_read_input_tokens": 3, "output_tokens": 5},
                "stop_reason": "tool_use",
            },
        },
        {
            "type": "user",
            "sessionId": "s",
            "uuid": "3",
            "parentUuid": "2",
            "timestamp": STAMP.format(3),
            "toolUseResult": {"agentId": "a"},
            "message": {"content": [{"type": "tool_result", "tool_use_id": "u", "content": "x y"}]},
        },
    ],
    "infercept": {
        "s": [
            {"prompt": "a b", "completion": "c", "api_time": 0.5, "api_token": "d"},
            {"prompt_tokens": 30, "completion_tokens": 4, "api_time": 1.0, "api_token_length": 3},
        ]
    },
    "kv-cache-tester": {
        "id": "one",
        "block_size": 64,
        "models": ["m"],
        "requests": [
            REQUEST,
            {
                "t": 3,
                "type": "subagent",
                "agent_id": "a",
                "duration_ms": 900,
                "requests": [REQUEST],
                "system_tokens": 9,
            },
            {**REQUEST, "t": 5.0},
        ],
    },
    "mlperf-agentic": [
        {
            "conversation_id": "c",
            "turn": 1,
            "role": "user",
            "content": "fix",
            "tools": [{}],
            "max_tokens": 64,
            "top_p": 1,
        },
        {
            "conversation_id": "c",
            "turn": 2,
            "role": "assistant",
            "content": [{"type": "text", "text": "look"}],
            "tool_calls": [{"id": "a", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}],
        },
        {
            "conversation_id": "c",
            "turn": 3,
            "role": "tool",
            "tool_results": [{"tool_call_id": "a", "content": "x"}],
            "delay_seconds": 1.5,
        },
        {"conversation_id": "c", "turn": 4, "role": "assistant", "content": "done"},
    ],
    "mooncake": [{"timestamp": 5, "input_length": 600, "output_length": 9, "hash_ids": [1, 2]}],
    "azure": [["TIMESTAMP", "ContextTokens", "GeneratedTokens"], ["2023-11-16 18:17:03.9799600", "4808", "10"]],
    "otel": {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN, CALL]}]}]},
}


def written(format_name: str, value: Any) -> bytes:
    """The value as a file of the format."""
    if format_name == "azure":
        text = io.StringIO()
        rows = value if isinstance(value, list) else [value]
        csv.writer(text).writerows([row if isinstance(row, list) else [row] for row in rows])
        return text.getvalue().encode("utf-8", "surrogatepass")
    if FORMATS[format_name].suffixes == (".jsonl",):
        return "\n".join(map(json.dumps, value if isinstance(value, list) else [value])).encode()
    return json.dumps(value).encode()


def own_recording(folder: Path) -> bytes:
    row = {"source": "s", "session_id": "s", "turn": 0, "arrival_s": 1.0, "prompt_tokens": 3, "output_tokens": 2}
    write_table(folder / "turns-0.parquet", "turns", rows_to_table("turns", [row] * 3))
    return (folder / "turns-0.parquet").read_bytes()


def check_import(format_name: str, content: bytes, folder: Path) -> None:
    suffix = FORMATS[format_name].suffixes[0]
    (folder / f"turns-1{suffix}").write_bytes(content)
    try:
        import_traces(format_name, [folder / f"turns-1{suffix}"], folder / "out")
    except ImportingError:
        assert not (folder / "out").exists()


@pytest.mark.parametrize("format_name", SOUND)
def test_the_sound_records_are_imported(format_name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[format_name].suffixes[0]}"
    path.write_bytes(written(format_name, SOUND[format_name]))
    assert not import_traces(format_name, [path], tmp_path / "out", strict=True).skipped


LATE_AGENT = {**SOUND["kv-cache-tester"]["requests"][1], "t": 10**400}
FOUND = {
    "a surrogate as a hash": ("mooncake", [{**SOUND["mooncake"][0], "hash_ids": ["\ud800"]}, SOUND["mooncake"][0]]),
    "a length beyond 64 bits": ("mooncake", [{**SOUND["mooncake"][0], "input_length": 1 << 63}, SOUND["mooncake"][0]]),
    "a timestamp beyond the floats": (
        "mooncake",
        [{**SOUND["mooncake"][0], "timestamp": 10**400}, SOUND["mooncake"][0]],
    ),
    "a time beyond the floats": ("kv-cache-tester", {**SOUND["kv-cache-tester"], "requests": [LATE_AGENT, REQUEST]}),
}
"""Damage beside a sound record, as `make fuzz` found it to end an import with another error."""


@pytest.mark.parametrize(("format_name", "value"), FOUND.values(), ids=FOUND)
def test_damage_that_once_ended_an_import_is_counted(format_name: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[format_name].suffixes[0]}"
    path.write_bytes(written(format_name, value))
    assert sum(import_traces(format_name, [path], tmp_path / "out").skipped.values()) == 1


@pytest.mark.fuzz
@pytest.mark.parametrize("format_name", SOUND)
@settings(max_examples=settings().max_examples // 5)
@given(data=st.data())
def test_damaged_records_are_imported_or_counted(
    format_name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    value = data.draw(damaged(SOUND[format_name]))
    check_import(format_name, written(format_name, value), tmp_path_factory.mktemp("d", numbered=True))


@pytest.mark.fuzz
@settings(max_examples=settings().max_examples // 5)
@given(data=st.data())
def test_a_damaged_recording_is_imported_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("p", numbered=True)
    content = bytearray(own_recording(folder))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, 2 * len(content))) :]
    check_import("augserve", bytes(content), folder)
