import math

from augserve.features.session_history import MAX_CALLS, ReturnedCall, SessionHistory, call_key


def test_an_empty_history_has_no_values() -> None:
    session = SessionHistory()
    assert session.context_tokens == 0
    assert session.last_tool is None
    assert math.isnan(session.output_tokens.last)
    assert math.isnan(session.pause_s.mean)
    assert math.isnan(session.first_prompt_log2)


def test_a_single_untimed_call_takes_the_whole_pause() -> None:
    session = SessionHistory()
    session.calls_returned([ReturnedCall("bash", None, 40, "git")], 2.5)
    assert session.call_s[call_key("bash")].last == session.call_s[call_key("bash", "git")].last == 2.5
    assert (session.last_tool, session.last_head, session.last_calls) == ("bash", "git", 1)


def test_of_parallel_calls_only_timed_ones_have_a_duration() -> None:
    session = SessionHistory()
    session.calls_returned([ReturnedCall("bash", 1.0), ReturnedCall("read")], 2.5)
    assert session.call_s[call_key("bash")].last == 1.0
    assert call_key("read") not in session.call_s
    assert (session.last_calls, session.calls, len(session.tools)) == (2, 2, 2)
    assert session.pause_s.last == 2.5


def test_a_pause_without_known_calls_has_no_tool() -> None:
    session = SessionHistory()
    session.calls_returned([ReturnedCall("bash")], 1.0)
    session.calls_returned([], 30.0)
    assert (session.last_tool, session.tool_before_last, session.last_calls) == (None, "bash", 0)
    assert session.calls == 1
    assert session.pause_s.total == 31.0


def test_the_memory_of_a_session_is_bounded() -> None:
    session = SessionHistory()
    for number in range(2 * MAX_CALLS):
        session.calls_returned([ReturnedCall(f"tool-{number}", None, 1, "head")], 1.0)
    assert len(session.call_s) == len(session.tools) == MAX_CALLS
