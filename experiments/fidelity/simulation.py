"""The simulated half of a fidelity run, in the times of the client."""

import dataclasses

from augserve.data.workload.model import Session, ToolCall
from augserve.data.workload.schedule import Load
from augserve.models.serving.predictor import Predictor
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.fleet.replica import SYNCHRONOUS
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.record.records import SimulationResult, TurnRecord

from .calibration import Calibration, Overheads


def simulate(
    policy: str,
    load: Load,
    end_s: float,
    drain_s: float,
    calibration: Calibration,
    settings: SchedulerSettings,
    predictor: Predictor | None,
) -> SimulationResult:
    """Simulate a load as the client of the server sees it. As in a replay, turns due from `end_s` on are not sent."""
    overheads = calibration.overheads
    shifted = sessions_at_the_engine(load, overheads)
    clock = VirtualClock()
    scheduler = build_policy(policy, PolicyInputs(calibration.profile.limits, settings, predictor, shifted, clock))
    try:
        simulation = Simulation(
            scheduler,
            calibration.profile,
            clock,
            shifted,
            batches=SYNCHRONOUS,  # vLLM on a CPU has no asynchronous scheduling
            last_arrival_s=end_s + overheads.arrival_s,
            agents=load.agents,
        )
        result = simulation.run(end_s + drain_s)
    finally:
        scheduler.shutdown()
    turns = tuple(at_the_client(turn, overheads) for turn in result.turns)
    return SimulationResult(turns, result.totals, result.end_s)


def sessions_at_the_engine(load: Load, overheads: Overheads) -> tuple[Session, ...]:
    """The load's sessions in the times of the engine. An agent begins the next one when the client has the output."""
    first = len(load.sessions) if load.agents is None else load.agents
    shifted = [at_the_engine(session, overheads) for session in load.sessions]
    later = (dataclasses.replace(one, arrival_s=one.arrival_s + overheads.response_s) for one in shifted[first:])
    return (*shifted[:first], *later)


def at_the_engine(session: Session, overheads: Overheads) -> Session:
    """The session in the times of the engine: a tool call starts when the client has the output."""
    both_s = overheads.response_s + overheads.arrival_s

    def later(call: ToolCall) -> ToolCall:
        if call.agent is None:
            return dataclasses.replace(call, duration_s=call.duration_s + both_s)
        agent = at_the_engine(call.agent, overheads)  # its own arrival is one way, that of the result the other
        agent = dataclasses.replace(agent, arrival_s=agent.arrival_s + overheads.response_s)
        return dataclasses.replace(call, duration_s=call.duration_s + both_s, agent=agent)

    turns = tuple(dataclasses.replace(turn, calls=tuple(map(later, turn.calls))) for turn in session.turns)
    return dataclasses.replace(session, arrival_s=session.arrival_s + overheads.arrival_s, turns=turns)


def at_the_client(turn: TurnRecord, overheads: Overheads) -> TurnRecord:
    """The record in the times of the client."""

    def seen(time_s: float | None) -> float | None:
        return None if time_s is None else time_s + overheads.response_s

    return dataclasses.replace(
        turn,
        arrival_s=max(turn.arrival_s - overheads.arrival_s, 0.0),
        first_token_s=seen(turn.first_token_s),
        finish_s=seen(turn.finish_s),
    )
