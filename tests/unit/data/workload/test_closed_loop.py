import dataclasses
import itertools

import pytest

from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.closed_loop import (
    closed_load,
    least_s,
    recorded_closed_load,
    recorded_sequence,
    with_capped_pauses,
)
from augserve.data.workload.model import Session, ToolCall, Turn, WorkloadError
from augserve.data.workload.recorded.sessions import RecordedSession
from augserve.data.workload.token_ids import session_contexts

AGENT = Session("child", "made", 0.5, (Turn(20, 5, (ToolCall("grep", 40.0, 3),)), Turn(3, 5)))
SESSION = Session(
    "parent",
    "made",
    0.0,
    (
        Turn(50, 10, (ToolCall("bash", 30.0, 5), ToolCall("Task", 2.0, 5, AGENT))),
        Turn(10, 10, (ToolCall("bash", 1.0, 7),)),
        Turn(7, 10, (ToolCall("bash", 1.0, 4),), kept_tokens=15),
        Turn(4, 10),
    ),
)


def sessions():
    return (dataclasses.replace(SESSION, session_id=f"s{number}") for number in itertools.count())


def recorded(count):
    return [
        RecordedSession("made", f"s{n}", f"s{n}", 0.0, dataclasses.replace(SESSION, session_id=f"s{n}"))
        for n in range(count)
    ]


def test_the_sessions_last_for_the_whole_time():
    load = closed_load(sessions(), 3, 100.0, seed=1)
    assert load.agents == 3
    assert sum(map(least_s, load.sessions)) >= 300.0


def test_agents_begin_one_after_the_other_in_the_middle_of_a_session():
    load = closed_load(sessions(), 30, 500.0, seed=1)
    assert [session.arrival_s for session in load.sessions[:3]] == [0.0, 1.0, 2.0]
    begun = {len(session.turns) for session in load.sessions[:30]}
    assert begun == {2, 3, 4}  # no session enters with its last turn
    assert all(len(session.turns) == 4 for session in load.sessions[30:])


def test_a_session_that_enters_later_has_the_same_tokens():
    whole = session_contexts(SESSION)
    for session in closed_load(itertools.repeat(SESSION), 20, 500.0, seed=1).sessions[:20]:
        passed = len(SESSION.turns) - len(session.turns)
        length = SESSION.prompt_tokens(passed)
        assert session_contexts(session)[0][:length] == whole[passed][:length]
        assert session.prompt_lengths() == SESSION.prompt_lengths()[passed:]


def test_pauses_are_capped_in_sub_agents_too():
    capped = with_capped_pauses(SESSION, 10.0)
    bash, task = capped.turns[0].calls
    assert (bash.duration_s, task.duration_s) == (10.0, 2.0)
    assert task.agent.turns[0].calls[0].duration_s == 10.0
    assert task.agent.arrival_s == 0.5
    assert with_capped_pauses(SESSION, 0.2).turns[0].calls[1].agent.arrival_s == 0.2


def test_recorded_sessions_come_again_under_another_id_after_all_others():
    names = [session.session_id for session in itertools.islice(recorded_sequence(recorded(1), seed=1), 3)]
    assert names == ["s0", "s0~1", "s0~2"]
    agents = [next(session.agents) for session in itertools.islice(recorded_sequence(recorded(1), seed=1), 2)]
    assert [agent.session_id for agent in agents] == ["child", "child~1"]


def test_more_agents_than_recorded_sessions_run_copies_side_by_side():
    load = recorded_closed_load(recorded(2), 5, 100.0, 1, None, Adjustments())
    names = [session.session_id for session in load.sessions]
    assert load.agents == 5 <= len(names) == len(set(names))
    for first in range(0, len(names) - 1, 2):  # each session once before any comes again
        assert {name.partition("~")[0] for name in names[first : first + 2]} == {"s0", "s1"}


@pytest.mark.parametrize("agents", [0, -1])
def test_no_agent_is_one_line(agents):
    with pytest.raises(WorkloadError, match=f"{agents} agents"):
        closed_load(sessions(), agents, 100.0, seed=1)


@pytest.mark.parametrize("cap_s", [-1.0, float("nan"), 1e9])
def test_an_absurd_pause_cap_is_one_line(cap_s):
    with pytest.raises(WorkloadError, match="pause cap"):
        closed_load(sessions(), 1, 100.0, seed=1, pause_cap_s=cap_s)
