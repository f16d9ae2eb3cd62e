from types import SimpleNamespace

import pytest

from augserve.runtime.hints.hints import MAX_NAME
from augserve.runtime.hints.identity import HARNESSES, Harness, Identity, identity_of, own_harnesses


def headers(**named: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.client)
def test_each_client_s_headers_are_read_in_any_case(harness: Harness) -> None:
    named = [(harness.session.title().encode(), b"s")]
    assert identity_of(named) == Identity("s")
    if harness.agent:
        assert identity_of([*named, (harness.agent.encode(), b"a")]) == Identity("s/a", "s")
    elif harness.parent:
        assert identity_of([*named, (harness.parent.upper().encode(), b"p")]) == Identity("s", "p")


def test_two_agents_of_one_session_are_two_children_of_it() -> None:
    main, *agents = (
        identity_of(headers(x_claude_code_session_id="s", **agent))
        for agent in ({}, {"x_claude_code_agent_id": "a"}, {"x_claude_code_agent_id": "b"})
    )
    assert main == Identity("s")
    assert {agent.parent for agent in agents} == {"s"}
    assert len({main.session, *(agent.session for agent in agents)}) == 3


def test_an_agent_that_another_one_started_is_that_one_s_child() -> None:
    child = identity_of(headers(x_claude_code_session_id="s", x_claude_code_agent_id="a"))
    its_own = {"x_claude_code_agent_id": "b", "x_claude_code_parent_agent_id": "a"}
    assert identity_of(headers(x_claude_code_session_id="s", **its_own)) == Identity("s/b", child.session)


def test_no_agent_means_the_root_even_if_a_parent_agent_is_named() -> None:
    named = headers(x_claude_code_session_id="s", x_claude_code_parent_agent_id="a")
    assert identity_of(named) == Identity("s")


@pytest.mark.parametrize(
    ("value", "ends"), [("true", True), ("True", True), ("1", True), ("false", False), ("", False)]
)
def test_a_client_may_say_that_its_session_ends(value: str, ends: bool) -> None:
    assert identity_of(headers(x_dynamo_session_id="s", x_dynamo_session_final=value)) == Identity("s", ends=ends)


def test_the_plain_header_comes_before_those_of_clients_and_the_operator_s_before_all() -> None:
    named = headers(x_opencode_session="o", x_session_id="s", x_mine="m", x_my_parent="p")
    assert identity_of(named) == Identity("s")
    assert identity_of(named, [Harness("own", "x-mine", "x-my-parent")]) == Identity("m", "p")


@pytest.mark.parametrize("value", ["", "x" * (MAX_NAME + 1)])
def test_an_empty_or_oversized_id_names_nothing(value: str) -> None:
    assert identity_of(headers(x_session_id=value)) == Identity()
    assert identity_of(headers(x_session_id=value, x_opencode_session="o")) == Identity("o")


def test_a_session_is_not_its_own_parent() -> None:
    assert identity_of(headers(x_session_id="s", x_parent_session_id="s")) == Identity("s")


def test_the_operator_s_headers_come_from_the_deployment() -> None:
    def scope(config: object) -> dict[str, object]:
        arguments = SimpleNamespace(additional_config=config)
        return {"app": SimpleNamespace(state=SimpleNamespace(args=arguments))}

    assert own_harnesses(scope({"augserve": {"session_headers": {"X-A": "X-B"}}})) == (Harness("own", "x-a", "x-b"),)
    for config in (None, {}, {"augserve": 3}, {"augserve": {"session_headers": ["x"]}}):
        assert own_harnesses(scope(config)) == ()
    assert own_harnesses({}) == ()
