import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.refusal.callers import caller_of
from augserve.runtime.refusal.gate import Caller

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SYSTEM = {"role": "system", "content": "s"}


def caller(body: Any, session_id: str = "", parent_id: str = "", owner: str = "") -> Caller:
    return caller_of(owner, session_id, parent_id, json.dumps(body).encode())


def test_a_session_is_the_one_that_vllm_reads() -> None:
    named = caller({"session_id": "a"}).key
    assert named == caller({"session_id": "a"}, session_id="b").key
    assert named == caller({}, session_id="a").key == caller({"vllm_xargs": {"session_id": "a"}}).key
    assert named != caller({}, session_id="b").key
    assert caller({}, session_id="a").goes_on


def test_one_id_of_two_owners_names_two_sessions() -> None:
    assert caller({}, "a", owner="x").key != caller({}, "a", owner="y").key


def test_a_conversation_is_known_by_its_beginning() -> None:
    first = caller({"messages": [SYSTEM, USER]})
    later = caller({"messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "more"}], "max_tokens": 3})
    assert first.key == later.key
    assert (first.goes_on, later.goes_on) == (False, True)
    assert caller({"input": [SYSTEM, USER]}).key == first.key
    assert caller({"messages": [USER]}).key != first.key


def test_the_parent_is_named_by_the_key_of_its_own_turns() -> None:
    assert caller({}, "child", parent_id="p").parent == caller({}, "p").key


def test_the_same_request_has_the_same_key_and_is_never_a_next_turn() -> None:
    one, again, other = (caller({"prompt": text}) for text in ("x", "x", "y"))
    assert one == again
    assert one.key != other.key
    assert not one.goes_on


VALUES = st.none() | st.booleans() | st.floats() | st.text()
JSON = st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
ODD = st.fixed_dictionaries({}, optional=dict.fromkeys(("session_id", "messages", "input", "vllm_xargs"), JSON))


@pytest.mark.fuzz
@given(st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode), ODD.map(json.dumps).map(str.encode)))
def test_any_body_has_a_caller(body: bytes) -> None:
    assert len(caller_of("", "", "é", body).key) == 16
