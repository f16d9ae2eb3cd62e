from augserve.pipeline.gather.session import CallSeen, argument_facts, call_messages
from augserve.runtime.hints.conversation import hints_of

CALL = CallSeen("math-1-0", 2, "python", '{"code": "print(1)"}', 10.0, 0.5, "1")


def test_the_result_comes_last_under_the_id_of_its_call() -> None:
    assistant, tool = call_messages("I will compute.", CALL, "What is it?")
    assert assistant["content"] == "I will compute."
    assert tool["tool_call_id"] == assistant["tool_calls"][0]["id"]
    assert tool["content"] == "1\n\nWhat is it?"


def test_the_middleware_recognizes_the_call() -> None:
    assert hints_of({"messages": call_messages("", CALL, "")})["augserve_last_tool"] == ["python"]


def test_arguments_are_recorded_by_size_and_hash_never_as_text() -> None:
    facts = argument_facts(CALL)
    assert facts["argument_count"] == 1
    assert facts["argument_bytes"] == len('{"code":"print(1)"}')
    assert "print" not in facts["argument_head"]
