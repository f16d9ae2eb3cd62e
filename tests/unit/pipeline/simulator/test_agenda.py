"""Invariants of the agenda on random session trees, each turn of which takes one second."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.pipeline.simulator.agenda import Agenda, Due

from .trees import forests

TURN_S = 1.0


def run(sessions: list[Session], agents: int | None = None) -> list[Due]:
    """All turns in the order of their arrivals; an engine with room for all serves each in TURN_S."""
    agenda, arrived, running = Agenda(sessions, agents), [], []
    while running or agenda.next_s is not None:
        next_end_s = min((end_s for end_s, _ in running), default=float("inf"))
        if agenda.next_s is not None and agenda.next_s <= next_end_s:
            due = agenda.pop(agenda.next_s)
            assert due is not None
            arrived.append(due)
            running.append((due.time_s + TURN_S, due))
        else:
            ended = min(running, key=lambda pair: pair[0])
            running.remove(ended)
            agenda.turn_ended(ended[1], ended[0])
    return arrived


def name(due: Due) -> tuple[str, int]:
    return due.under_way.session.session_id, due.turn


@given(forests(), st.one_of(st.none(), st.integers(1, 6)))
def test_every_turn_of_every_tree_arrives_once(sessions: list[Session], agents: int | None) -> None:
    agents = None if agents is None else min(agents, len(sessions))
    arrived = Counter(map(name, run(sessions, agents)))
    turns = [(own.session_id, turn) for root in sessions for own in root.tree() for turn in range(len(own.turns))]
    assert arrived == dict.fromkeys(turns, 1)


@given(forests())
def test_no_turn_arrives_before_all_that_it_waits_for_has_returned(sessions: list[Session]) -> None:
    arrival_s = {name(due): due.time_s for due in run(sessions)}
    for session in (own for root in sessions for own in root.tree()):
        for number, turn in enumerate(session.turns[:-1]):
            end_s = arrival_s[session.session_id, number] + TURN_S
            returned_s = [end_s + turn.tools_s]
            for call in turn.calls:
                if call.agent is not None:
                    assert arrival_s[call.agent.session_id, 0] == pytest.approx(end_s + call.agent.arrival_s)
                    last_s = arrival_s[call.agent.session_id, len(call.agent.turns) - 1] + TURN_S
                    returned_s.append(last_s + call.duration_s)
            assert arrival_s[session.session_id, number + 1] == pytest.approx(max(returned_s))


@given(forests(), st.integers(1, 4))
def test_a_closed_loop_has_as_many_session_trees_as_agents(sessions: list[Session], agents: int) -> None:
    agents = min(agents, len(sessions))
    arrived = run(sessions, agents)
    spans_s: dict[str, list[float]] = {}
    for due in arrived:
        root = due.under_way
        while root.parent is not None:
            root = root.parent
        spans_s.setdefault(root.session.session_id, []).append(due.time_s)
    begun_s = sorted((min(times_s), max(times_s) + TURN_S) for times_s in spans_s.values())
    for start_s, _ in begun_s:
        assert sum(begin_s <= start_s < end_s for begin_s, end_s in begun_s) <= agents


def test_a_session_begins_its_arrival_time_after_its_agents_last_one_ends() -> None:
    sessions = [
        Session("a", "made", 0.0, (Turn(5, 5, (ToolCall("t", 2.0, 5),)), Turn(5, 5))),
        Session("b", "made", 0.5, (Turn(5, 5),)),
    ]
    assert [(name(due), due.time_s) for due in run(sessions, agents=1)] == [
        (("a", 0), 0.0),
        (("a", 1), 3.0),
        (("b", 0), 4.5),
    ]
