from hypothesis import given
from hypothesis import strategies as st

from augserve.data.workload.model import Session, Turn
from augserve.data.workload.steady_state import entered
from augserve.pipeline.simulator.record.records import TurnRecord
from augserve.pipeline.simulator.record.trees import length_bounds, trees_of, turns_of

from ..trees import forests, trees


def sessions(*lengths):
    return [Session(f"s{number}", "made", 0.0, (Turn(5, 5),) * length) for number, length in enumerate(lengths)]


def test_the_bounds_cut_the_whole_sessions_into_thirds():
    assert length_bounds(sessions(9, 1, 2, 3, 8, 4)) == (2, 4)
    assert length_bounds(sessions(1, 2)) is None
    midway = [entered(session, 5) for session in sessions(9, 9, 9)]
    assert length_bounds([*sessions(1, 2, 3), *midway]) == (1, 2)


@given(trees("s"))
def test_a_session_counts_the_turns_of_its_sub_agents(session):
    assert turns_of(session) == sum(len(own.turns) for own in session.tree())


@given(forests(), st.data())
def test_every_turn_belongs_to_the_tree_of_its_root(sessions, data):
    """The engine serves one turn a second, of any session whose turn may run."""
    turns: list[TurnRecord] = []
    roots: dict[str, str] = {}

    def add(session: Session, root: str, parent: str | None) -> None:
        roots[session.session_id] = root
        for number, turn in enumerate(session.turns):
            at = float(len(turns))
            last = number + 1 == len(session.turns)
            turns.append(TurnRecord(session.session_id, "made", number, last, at, 1, at, at + 1, 1, parent_id=parent))
            for call in turn.calls:
                if call.agent is not None:
                    add(call.agent, root, session.session_id)

    for session in sessions:
        add(session, session.session_id, None)
    found = trees_of(turns)
    assert {name: tree.session_id for name, tree in found.items()} == roots
    for session in sessions:
        tree = found[session.session_id]
        assert len(tree.turns) == turns_of(session) == tree.session_time_s() == tree.serving_time_s()
