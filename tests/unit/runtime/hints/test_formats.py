"""The same conversation in three formats gives the same hints."""

import json
from typing import Any

import pytest

from augserve.runtime.hints.conversation import hints_of
from augserve.runtime.hints.formats import of_chat, of_messages, of_responses

ARGUMENTS = [{"query": "SELECT 1"}, {"query": "SELECT 22"}]
IDS = ["chatcmpl-tool-8c1b0f5e7a2d4c39", "chatcmpl-tool-1f2e3d4c5b6a7980"]
RESULTS = ["1", "twenty-two"]

CHAT = {
    "tools": [{}, {}],
    "user": "u",
    "messages": [
        {"role": "user", "content": "ask"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": name, "type": "function", "function": {"name": "sql", "arguments": json.dumps(made)}}
                for name, made in zip(IDS, ARGUMENTS, strict=True)
            ],
        },
        *({"role": "tool", "tool_call_id": name, "content": text} for name, text in zip(IDS, RESULTS, strict=True)),
    ],
}
MESSAGES = {
    "tools": [{}, {}],
    "metadata": {"user_id": "u"},
    "messages": [
        {"role": "user", "content": "ask"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I ask."},
                *(
                    {"type": "tool_use", "id": name, "name": "sql", "input": made}
                    for name, made in zip(IDS, ARGUMENTS, strict=True)
                ),
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": IDS[0], "content": RESULTS[0]},
                {"type": "tool_result", "tool_use_id": IDS[1], "content": [{"type": "text", "text": RESULTS[1]}]},
            ],
        },
    ],
}
RESPONSES = {
    "tools": [{}, {}],
    "user": "u",
    "input": [
        {"role": "user", "content": "ask"},
        *(
            {"type": "function_call", "call_id": name, "name": "sql", "arguments": json.dumps(made)}
            for name, made in zip(IDS, ARGUMENTS, strict=True)
        ),
        *(
            {"type": "function_call_output", "call_id": name, "output": text}
            for name, text in zip(IDS, RESULTS, strict=True)
        ),
    ],
}


def test_every_format_gives_the_hints_of_the_chat() -> None:
    expected = hints_of(of_chat(CHAT))
    assert expected["augserve_last_tool"] == ["sql", "sql"]
    assert expected["augserve_result_bytes"] == [1, 10]
    assert "augserve_call_id" in expected
    assert hints_of(of_messages(MESSAGES)) == expected
    assert hints_of(of_responses(RESPONSES)) == expected


@pytest.mark.parametrize("request_body", [{"input": "only text"}, {"input": []}])
def test_a_response_without_history_has_no_calls(request_body: dict[str, Any]) -> None:
    assert hints_of(of_responses(request_body)) == {"augserve_tools_offered": 0}


def test_the_user_s_next_question_brings_no_results() -> None:
    answered = {**MESSAGES, "messages": [*MESSAGES["messages"], {"role": "assistant", "content": "22"}]}  # type: ignore[misc]
    assert "augserve_last_tool" not in hints_of(of_messages(answered))
