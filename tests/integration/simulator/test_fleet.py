"""Several engines under one virtual clock, behind each routing."""

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from augserve.data.workload.model import Session
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.fleet.routing import Fleet, Loss, Routing
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.record.records import SimulationResult
from augserve.runtime.routing.rendezvous import rendezvous

from ...unit.pipeline.simulator.trees import forests
from .conftest import check_nothing_left
from .guessing import GuessingPredictor
from .policies.test_bulk import ROOMY, Seen
from .policies.test_every_policy import SETTINGS, sessions_of

POLICIES = ("vllm", "augserve")
ENGINE = dataclasses.replace(ROOMY, limits=dataclasses.replace(ROOMY.limits, max_model_len=2048))
"""Room for the longest random session."""


def run(
    policy: str, sessions: Sequence[Session], fleet: Fleet, every_step: bool = False, agents: int | None = None
) -> tuple[SimulationResult, int]:
    """The result of a run to its end, and how many steps were part of a bulk."""
    schedulers = []

    def start(clock: VirtualClock):  # type: ignore[no-untyped-def]
        inputs = PolicyInputs(ENGINE.limits, SETTINGS, GuessingPredictor(), sessions, clock)
        schedulers.append(build_policy(policy, inputs))
        return schedulers[-1]

    clock, seen = VirtualClock(), Seen(every_step)
    simulation = Simulation(start(clock), ENGINE, clock, sessions, seen, agents=agents, fleet=fleet, start=start)
    result = simulation.run()
    for scheduler in schedulers:
        if not fleet.losses:
            check_nothing_left(scheduler)
        scheduler.shutdown()
    return result, seen.in_bulk


def facts(result: SimulationResult) -> list[tuple[str, int, int, bool]]:
    return sorted((turn.session_id, turn.turn, turn.output_tokens, turn.finish_s is not None) for turn in result.turns)


def wanted(sessions: Sequence[Session]) -> list[tuple[str, int, int, bool]]:
    every = [own for root in sessions for own in root.tree()]
    return sorted(
        (session.session_id, number, turn.output_tokens, True)
        for session in every
        for number, turn in enumerate(session.turns)
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_sticky_engines_are_as_many_separate_ones(policy: str) -> None:
    sessions = sessions_of(24, 6.0, seed=5)
    together, _ = run(policy, sessions, Fleet(3, Routing.STICKY))
    for rank in range(3):
        own = tuple(each for each in sessions if rendezvous(each.session_id.encode(), range(3)) == rank)
        names = {each.session_id for each in own}
        alone, _ = run(policy, own, Fleet())
        assert [turn for turn in together.turns if turn.session_id in names] == list(alone.turns)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("routing", [Routing.ROUND_ROBIN, Routing.LEAST, Routing.STICKY])
@pytest.mark.parametrize("agents", [None, 6])
def test_bulks_change_no_turn_of_several_engines(policy: str, routing: Routing, agents: int | None) -> None:
    sessions = sessions_of(18, 1.0, seed=6)
    (bulk, in_bulk), (single, _) = (run(policy, sessions, Fleet(3, routing), every, agents) for every in (False, True))
    assert bulk.turns == single.turns
    assert in_bulk > bulk.totals.steps / 10


@given(
    forests(),
    st.sampled_from(POLICIES),
    st.sampled_from(list(Routing)),
    st.integers(2, 4),
    st.dictionaries(st.integers(1, 3), st.tuples(st.floats(0.0, 20.0), st.floats(0.1, 20.0)), max_size=3),
    st.one_of(st.none(), st.integers(1, 5)),
)
@examples(max_examples=15, deadline=None)
def test_no_turn_is_lost_with_an_engine(
    sessions: list[Session],
    policy: str,
    routing: Routing,
    replicas: int,
    losses: dict[int, tuple[float, float]],
    agents: int | None,
) -> None:
    away = tuple(Loss(rank, at_s, at_s + for_s) for rank, (at_s, for_s) in losses.items() if rank < replicas)
    agents = None if agents is None else min(agents, len(sessions))
    result, _ = run(policy, sessions, Fleet(replicas, routing, away), agents=agents)
    assert facts(result) == wanted(sessions)


def test_a_lost_engine_s_turns_wait_from_their_first_arrival() -> None:
    sessions = sessions_of(8, 20.0, seed=7)
    whole, _ = run("vllm", sessions, Fleet(2, Routing.STICKY))
    lost_s = next(turn.first_token_s for turn in whole.turns if turn.output_tokens > 20) or 0.0
    cut, _ = run("vllm", sessions, Fleet(2, Routing.STICKY, tuple(Loss(rank, lost_s, lost_s + 1e-3) for rank in (0,))))
    moved = {(turn.session_id, turn.turn): turn for turn in cut.turns}
    late = [
        turn
        for turn in whole.turns
        if turn.arrival_s < lost_s
        and rendezvous(turn.session_id.encode(), range(2)) == 0
        and (turn.finish_s or 0.0) > lost_s + 0.1
    ]
    assert late
    for turn in late:
        again = moved[turn.session_id, turn.turn]
        assert again.arrival_s == turn.arrival_s
        assert again.first_token_s is not None
        assert again.first_token_s > lost_s


def test_an_engine_that_comes_back_serves_again() -> None:
    sessions = sessions_of(30, 2.0, seed=8)
    served: dict[str, set[int]] = {}

    class Watch(Seen):
        def step_begun(self, step, scheduler, now_s, ends_s) -> None:  # type: ignore[no-untyped-def]
            for request_id in step.scheduled.num_scheduled_tokens:
                served.setdefault(request_id, set()).add(id(scheduler))

    started = []

    def start(clock: VirtualClock):  # type: ignore[no-untyped-def]
        inputs = PolicyInputs(ENGINE.limits, SETTINGS, None, sessions, clock)
        started.append(build_policy("vllm", inputs))
        return started[-1]

    clock = VirtualClock()
    fleet = Fleet(2, Routing.ROUND_ROBIN, (Loss(1, 3.0, 6.0),))
    Simulation(start(clock), ENGINE, clock, sessions, Watch(True), fleet=fleet, start=start).run()
    assert len(started) == 3
    assert any(id(started[2]) in engines for engines in served.values())


@pytest.mark.parametrize("routing", [Routing.STICKY, Routing.BACKLOG])
def test_a_session_stays_with_its_engine_and_so_do_its_sub_agents(routing: Routing) -> None:
    """A context is computed once: every turn finds all blocks of the turn before."""
    sessions = sessions_of(6, 0.3, seed=9)
    sticky, _ = run("vllm", sessions, Fleet(3, routing))
    spread, _ = run("vllm", sessions, Fleet(3, Routing.ROUND_ROBIN))
    assert sum(turn.cached_tokens for turn in sticky.turns) > 1.5 * sum(turn.cached_tokens for turn in spread.turns)


@pytest.mark.parametrize("policy", POLICIES)
def test_new_sessions_begin_where_the_least_work_waits(policy: str) -> None:
    sessions = tuple(dataclasses.replace(each, arrival_s=0.0) for each in sessions_of(16, 1.0, seed=10))
    placed, hashed = (run(policy, sessions, Fleet(4, routing))[0] for routing in (Routing.BACKLOG, Routing.STICKY))
    waits_s = [sum(turn.first_token_s or 0.0 for turn in each.turns if not turn.turn) for each in (placed, hashed)]
    assert waits_s[0] < 0.9 * waits_s[1]


@pytest.mark.parametrize(
    ("replicas", "losses", "named"),
    [
        (0, (), "--replicas is 0"),
        (2, (Loss(2, 1.0, 2.0),), "--lose 2@1-2"),
        (2, (Loss(0, 2.0, 1.0),), "--lose 0@2-1"),
        (2, (Loss(0, 1.0, 9.0), Loss(1, 2.0, 3.0)), "at 2 s every engine is away"),
        (3, (Loss(0, 1.0, 9.0), Loss(0, 2.0, 3.0)), "at 2 s an engine is lost twice"),
        (1, (Loss(0, 1.0, 2.0),), "at 1 s every engine is away"),
    ],
)
def test_engines_that_cannot_be_are_refused(replicas: int, losses: tuple[Loss, ...], named: str) -> None:
    with pytest.raises(SimulationError, match=named):
        Fleet(replicas, Routing.STICKY, losses)


@pytest.mark.parametrize("text", ["1", "1@", "a@3", "1@3-", "1@5-x", "-1@3"])
def test_a_malformed_loss_is_refused(text: str) -> None:
    with pytest.raises(SimulationError, match="RANK@S"):
        Loss.parse(text)
