import json
from typing import Any

import pytest
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

from augserve.runtime.hints.conversation import MAX_CALLS_SEEN, hints_of, is_random
from augserve.runtime.hints.hints import Hints

RANDOM = "chatcmpl-tool-0f3a9c1d7e5b42868a1f0c9d3e7b5a12"


def call(call_id: str, name: str, **arguments: object) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def assistant(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def result(call_id: str, content: object = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


USER = {"role": "user", "content": "secret"}


def test_results_after_the_last_answer_become_hints_in_their_order() -> None:
    messages = [
        USER,
        assistant(call("c0", "old")),
        result("c0"),
        assistant(call("c1", "read", path="/a"), call("c2", "bash", command="ls -l")),
        result("c2", "ü"),
        result("c1", [{"type": "text", "text": "abc"}, {"type": "image_url"}]),
        USER,
    ]
    hints = Hints.read(hints_of({"messages": messages}))
    assert hints.tools == ("bash", "read")
    assert [call.result_bytes for call in hints.calls] == [2, 3]
    assert [call.argument_count for call in hints.calls] == [1, 1]


def test_calls_that_share_an_id_are_each_answered_once() -> None:
    messages = [USER, assistant(call("call_0", "read"), call("call_0", "bash")), result("call_0"), result("call_0")]
    assert Hints.read(hints_of({"messages": messages})).tools == ("read", "bash")


def test_a_result_of_an_unknown_call_is_left_out() -> None:
    messages = [USER, assistant(call("c1", "read")), result("c9"), result("c1")]
    assert Hints.read(hints_of({"messages": messages})).tools == ("read",)


@pytest.mark.parametrize(
    "call_id",
    [
        RANDOM,
        "call_tZ8q4mVb0yWc3Rk9PpLs2Hn7",
        "toolu_01QCRcum5Xfa1D2LsHGLW55h",
        "6f1c8a52-3b7e-4d09-9c41-a8f2d6e0b713",
        "aB3dE6gH9",
    ],
)
def test_a_random_id_is_recognised(call_id: str) -> None:
    assert is_random(call_id)


@pytest.mark.parametrize(
    "call_id",
    [
        "",
        "call_0",
        "functions.get_weather:12",
        "call_getWeatherForCity",
        "call_1732400000123",
        "weather2024report",
        "1",
    ],
)
def test_a_number_or_a_name_is_not_a_random_id(call_id: str) -> None:
    assert not is_random(call_id)


def test_the_last_two_messages_with_calls_are_identified_by_hashes() -> None:
    first, second = call(RANDOM, "read"), call(RANDOM[:-1] + "3", "bash")
    early = hints_of({"messages": [USER, assistant(first), result(RANDOM)]})
    late = hints_of({"messages": [USER, assistant(first), result(RANDOM), assistant(second), USER]})
    assert "augserve_call_id_before" not in early
    assert late["augserve_call_id_before"] == early["augserve_call_id"] != late["augserve_call_id"]
    assert RANDOM not in json.dumps(late)


def test_calls_with_one_id_and_other_arguments_have_other_hashes() -> None:
    names = {hints_of({"messages": [assistant(call(RANDOM, "read", path=path))]})["augserve_call_id"] for path in "ab"}
    assert len(names) == 2


def test_a_tenant_becomes_a_hash() -> None:
    tenant = hints_of({"messages": [USER], "user": "mail@example.org"})["augserve_tenant"]
    assert isinstance(tenant, str)
    assert "mail" not in tenant
    assert (
        hints_of({"messages": [USER], "safety_identifier": "mail@example.org", "user": "x"})["augserve_tenant"]
        == tenant
    )
    assert "augserve_tenant" not in hints_of({"messages": [USER], "user": ""})


def test_vllm_accepts_the_hints_unchanged() -> None:
    messages = [USER, assistant(call(RANDOM, "read"), call("c2", "bash")), result(RANDOM), result("c2")]
    hints = hints_of({"messages": messages, "user": "u", "tools": []})
    parsed = ChatCompletionRequest.model_validate({"model": "m", "messages": messages, "vllm_xargs": hints})
    assert Hints.read(parsed.vllm_xargs) == Hints.read(hints)
    assert "secret" not in json.dumps(hints)


def test_the_number_of_calls_that_are_looked_at_is_bounded() -> None:
    looked = [0]

    class Call(dict[str, Any]):
        def get(self, *arguments: Any) -> Any:
            looked[0] += 1
            return super().get(*arguments)

    many = {"role": "user", "tool_calls": [Call() for _ in range(100_000)]}
    hints_of({"messages": [many] * 3 + [result("unknown")] * 100_000})
    assert looked[0] < 2 * MAX_CALLS_SEEN
