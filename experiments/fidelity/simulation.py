"""The simulated half of a fidelity run, in the times of the client."""

import dataclasses
from collections.abc import Sequence

from augserve.data.workload.model import Session, ToolCall
from augserve.models.serving.predictor import Predictor
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.server.replay.settings import DRAIN_S
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import SYNCHRONOUS, Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.record.records import SimulationResult, TurnRecord

from .calibration import Calibration, Overheads


def simulate(
    policy: str,
    sessions: Sequence[Session],
    duration_s: float,
    calibration: Calibration,
    settings: SchedulerSettings,
    predictor: Predictor | None,
) -> SimulationResult:
    """Simulate a load as the client of the server sees it; later turns are not sent, as in a replay."""
    overheads = calibration.overheads
    shifted = tuple(at_the_engine(session, overheads) for session in sessions)
    clock = VirtualClock()
    scheduler = build_policy(policy, PolicyInputs(calibration.profile.limits, settings, predictor, shifted, clock))
    try:
        simulation = Simulation(
            scheduler,
            calibration.profile,
            clock,
            shifted,
            batches=SYNCHRONOUS,  # vLLM on a CPU has no asynchronous scheduling
            last_arrival_s=duration_s + overheads.arrival_s,
        )
        result = simulation.run(duration_s + DRAIN_S)
    finally:
        scheduler.shutdown()
    turns = tuple(at_the_client(turn, overheads) for turn in result.turns)
    return SimulationResult(turns, result.totals, result.end_s)


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
