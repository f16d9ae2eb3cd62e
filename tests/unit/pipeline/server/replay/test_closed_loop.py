import asyncio
import dataclasses
import json

import numpy as np
import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.arrivals import Poisson
from augserve.data.workload.model import Session, SharedPrefix, ToolCall, Turn
from augserve.data.workload.prefixes import cut, prompt_prefixes
from augserve.data.workload.schedule import Load
from augserve.data.workload.steady_state import entered
from augserve.models.serving.settings import Slo
from augserve.pipeline.cli.__main__ import main
from augserve.pipeline.server.endpoint import Endpoint
from augserve.pipeline.server.replay import closed_loop
from augserve.pipeline.server.replay.run import replay
from augserve.pipeline.server.replay.settings import ReplaySettings
from augserve.pipeline.server.replay.turn_request import Identity

PATIENT = Slo(60.0, 60.0)  # a busy machine is no miss
LONG_S = 100.0  # longer than any test
FIRST_OUTPUT_ID = 40_000  # of the fake server


def run_agents(server, sessions, agents, duration_s=LONG_S, **other):
    settings = ReplaySettings(
        "made", Endpoint.parse(server.url), None, Poisson(), None, duration_s, 1, slo=PATIENT, **other
    )
    return asyncio.run(replay(settings, Load(tuple(sessions), Adjustments(), agents)))


def random_tree(name, random, depth=0):
    """A session of a few turns with parallel calls, some of which run sub-agents."""

    def call(turn, number):
        agent = None
        if depth < 2 and random.random() < 0.3:
            agent = random_tree(f"{name}.{turn}.{number}", random, depth + 1)
        return ToolCall("tool", float(random.uniform(0, 0.05)), 3, agent)

    count = int(random.integers(1, 4))
    turns = [
        Turn(
            int(random.integers(1, 30)),
            int(random.integers(1, 5)),
            tuple(call(turn, number) for number in range(int(random.integers(1, 4)))) if turn + 1 < count else (),
        )
        for turn in range(count)
    ]
    return Session(name, "made", float(random.uniform(0, 0.05)), tuple(turns))


def by_session(found):
    turns = {}
    for turn in found.turns:
        turns.setdefault(turn.session_id, []).append(turn)
    return turns


@pytest.mark.parametrize("seed", range(4))
def test_every_turn_of_every_tree_is_sent_once_and_never_before_what_it_waits_for(fake, seed):
    random = np.random.default_rng(seed)
    sessions = [random_tree(f"s{number}", random) for number in range(12)]
    found = run_agents(fake, sessions, 4, identity=Identity(session_ids=True))
    seen = by_session(found)
    every = [own for session in sessions for own in session.tree()]
    assert sorted(seen) == sorted(own.session_id for own in every)
    parents = {agent.session_id: own.session_id for own in every for agent in own.agents}
    for own in every:
        turns = seen[own.session_id]
        assert [turn.turn for turn in turns] == list(range(len(own.turns)))
        assert [turn.prompt_tokens for turn in turns] == own.prompt_lengths()
        assert {turn.parent_id for turn in turns} == {parents.get(own.session_id)}
        for planned, turn, following in zip(own.turns, turns, turns[1:], strict=False):
            returned_s = [turn.finish_s + planned.tools_s]
            for call in planned.calls:
                if call.agent is not None:
                    first, last = seen[call.agent.session_id][0], seen[call.agent.session_id][-1]
                    assert first.due_s == pytest.approx(turn.finish_s + call.agent.arrival_s, abs=1e-6)
                    returned_s.append(last.finish_s + call.duration_s)
            assert following.due_s == pytest.approx(max(returned_s), abs=1e-6)
    assert found.turn_counts() == {"answered": len(found.turns), "failed": 0, "cancelled": 0, "unsent": 0}
    told = {headers["x-session-id"]: headers.get("x-parent-session-id") for headers in fake.headers}
    assert told == {own.session_id: parents.get(own.session_id) for own in every}


@pytest.mark.parametrize("agents", [1, 3])
def test_an_agent_begins_the_next_session_of_the_list_when_its_last_one_ends(fake, agents):
    random = np.random.default_rng(7)
    sessions = [random_tree(f"s{number}", random) for number in range(10)]
    starts_s = [0.01 * number if number < agents else 0.0 for number in range(len(sessions))]
    starts_s[-1] = 0.05
    sessions = [dataclasses.replace(session, arrival_s=at_s) for session, at_s in zip(sessions, starts_s, strict=True)]
    seen = by_session(run_agents(fake, sessions, agents))
    begins_s = [seen[session.session_id][0].due_s for session in sessions]
    ends_s = [seen[session.session_id][-1].finish_s for session in sessions]
    assert begins_s[:agents] == pytest.approx([0.01 * number for number in range(agents)], abs=1e-6)
    expected_s = sorted(ends_s)[: len(sessions) - agents]
    expected_s[-1] += 0.05
    assert begins_s[agents:] == pytest.approx(expected_s, abs=1e-6)


def test_all_agents_are_served_at_once(fake):
    fake.gather = 12  # no token before twelve turns wait for one
    run_agents(fake, [Session(f"s{number}", "made", 0.0, (Turn(5, 2),)) for number in range(20)], 12)
    assert fake.most_at_once == 12


def forked(parent, turn, agent, tokens):
    """The sub-agent `agent` begins with `tokens` of the parent's context at a turn."""
    turns = (
        Turn(tokens + agent.turns[0].new_tokens, agent.turns[0].output_tokens, agent.turns[0].calls),
        *agent.turns[1:],
    )
    return dataclasses.replace(agent, turns=turns, shared=cut(prompt_prefixes(parent, turn), tokens))


def with_agent(parent, turn, agent):
    turns = list(parent.turns)
    turns[turn] = dataclasses.replace(turns[turn], calls=(ToolCall("Task", 0.0, 2, agent),))
    return dataclasses.replace(parent, turns=tuple(turns))


@pytest.mark.parametrize("begins_at", [0, 1])
def test_a_forked_sub_agent_begins_with_what_the_server_had_said(fake, begins_at):
    pause = (ToolCall("bash", 0.0, 2),)
    parent = Session(
        "parent",
        "made",
        0.0,
        (
            Turn(20, 3, pause),
            Turn(5, 4, pause),
            Turn(6, 3, pause, kept_tokens=25),  # of 32: a compaction
            Turn(4, 2, pause),
            Turn(3, 2),
        ),
        shared=(SharedPrefix("system", 8),),
    )
    child = Session("child", "made", 0.0, (Turn(7, 2),))
    grandchild = Session("grandchild", "made", 0.0, (Turn(7, 2),))
    child = forked(parent, 3, child, parent.prompt_tokens(3))
    child = with_agent(dataclasses.replace(child, turns=(child.turns[0], Turn(2, 2))), 0, grandchild)
    child = with_agent(child, 0, forked(child, 0, grandchild, child.prompt_tokens(0) - 4))
    parent = entered(with_agent(parent, 3, child), begins_at)
    run_agents(fake, [parent], 1, identity=Identity(session_ids=True))
    prompts = {}
    for headers, body in zip(fake.headers, fake.bodies, strict=True):
        prompts.setdefault(headers["x-session-id"], []).append(body["prompt"])
    whole = prompts["parent"][3 - begins_at]
    said = [place for place, token in enumerate(whole) if token >= FIRST_OUTPUT_ID]
    assert len(said) >= 3  # of the turn after the compaction, at least
    assert prompts["child"][0][: len(whole)] == whole
    assert prompts["grandchild"][0][: len(whole) + 3] == prompts["child"][0][: len(whole) + 3]
    assert prompts["parent"][-1][: len(whole)] == whole


def test_turns_of_the_warm_up_are_sent_and_not_measured(fake):
    sessions = [
        Session(f"s{number}", "made", 0.0, (Turn(5, 2, (ToolCall("t", 0.1, 1),)), Turn(3, 2))) for number in range(200)
    ]
    found = run_agents(fake, sessions, 2, 0.6, warmup_s=0.5)
    assert found.window.start_s == 0.5
    early = sum(turn.due_s < 0.5 for turn in found.turns)
    assert 0 < early < len(found.turns)
    assert found.metrics()["turns"] == len(found.turns) - early
    assert all(turn.due_s < 1.1 for turn in found.turns)


def test_turns_under_way_are_cancelled_after_the_drain_and_every_turn_is_accounted_for(fake):
    fake.delay_s = 30.0
    sessions = [
        Session(f"s{number}", "made", 0.0, (Turn(5, 2, (ToolCall("t", 0.0, 1),)), Turn(3, 2))) for number in range(9)
    ]
    found = run_agents(fake, sessions, 3, 0.3, drain_s=0.2)
    assert 0.5 <= found.end_s < 5.0
    assert found.sessions == 3
    assert found.turn_counts() == {"answered": 0, "failed": 0, "cancelled": 3, "unsent": 3}


def test_the_drain_lets_turns_under_way_finish_and_begins_none(fake):
    fake.delay_s = 0.6
    found = run_agents(fake, [Session(f"s{number}", "made", 0.0, (Turn(5, 2),)) for number in range(9)], 3, 0.3)
    assert found.turn_counts() == {"answered": 3, "failed": 0, "cancelled": 0, "unsent": 0}


def test_an_agent_in_a_pause_beyond_the_end_begins_no_other_session(fake):
    paused = Session("s0", "made", 0.0, (Turn(5, 2, (ToolCall("t", LONG_S, 1),)), Turn(3, 2)))
    found = run_agents(fake, [paused, Session("s1", "made", 0.0, (Turn(5, 2),))], 1, 5.0)
    assert {turn.session_id for turn in found.turns} == {"s0"}
    assert found.end_s < 5.0  # nothing is left to wait for


def test_an_agent_goes_on_after_a_failed_session(fake, monkeypatch):
    monkeypatch.setattr(closed_loop, "FAILED_WAIT_S", 0.05)
    child = Session("child", "made", 0.0, (Turn(17, 2),))
    failing = Session("s0", "made", 0.0, (Turn(5, 2, (ToolCall("Task", 0.0, 1, child),)), Turn(3, 2)))
    fake.fail = lambda body: (500, "broken") if len(body["prompt"]) == 17 else None
    found = run_agents(fake, [failing, Session("s1", "made", 0.0, (Turn(5, 2),))], 1)
    assert [(turn.session_id, turn.failure) for turn in found.turns] == [
        ("s0", None),
        ("child", "HTTP 500"),
        ("s1", None),
    ]
    assert found.turn_counts() == {"answered": 2, "failed": 1, "cancelled": 0, "unsent": 1}
    assert found.turns[2].due_s >= found.turns[1].sent_s + 0.05


@pytest.fixture
def traces(tmp_path):
    """Eight sessions of three turns with pauses of ten minutes, the second turn with a sub-agent."""
    rows = []
    for number in range(8):
        for turn in range(3):
            at = 1_000.0 * number + 601.0 * turn
            rows.append((f"s{number}", turn, at, at + 1.0, 30 * (turn + 1), 3, None))
        rows.append((f"a{number}", 0, 1_000.0 * number + 602.0, 1_000.0 * number + 603.0, 12, 3, f"s{number}"))
    names = ("session_id", "turn", "arrival_s", "finish_s", "prompt_tokens", "output_tokens", "parent_session_id")
    folder = tmp_path / "traces"
    table = rows_to_table("turns", [{"source": "made", **dict(zip(names, row, strict=True))} for row in rows])
    write_table(folder / "turns.parquet", "turns", table)
    return folder


def test_the_command_runs_the_simulator_s_sequence_with_capped_pauses(traces, fake, tmp_path, capsys):
    out = tmp_path / "replay.json"
    loop = ["--agents", "2", "--pause-cap", "0.05", "--duration", "1.5", "--warmup", "1", "--session-ids"]
    main(["replay", str(traces), "--url", fake.url, *loop, "--out", str(out)])
    report = json.loads(out.read_text())
    assert (report["settings"]["agents"], report["settings"]["pause_cap_s"]) == (2, 0.05)
    assert report["window_s"] == [1.0, 2.5]
    assert sum(report["turn_counts"].values()) >= len(report["turns"]) > 20
    assert report["turn_counts"]["answered"] == len(report["turns"])
    assert "turns: " in capsys.readouterr().out
    begun = [turn["session_id"] for turn in report["turns"] if turn["parent_id"] is None and turn["turn"] == 0]
    assert len(set(begun)) == len(begun) > 8  # sessions come again under another id
    assert {turn["parent_id"] for turn in report["turns"]} >= {None, begun[2]}
