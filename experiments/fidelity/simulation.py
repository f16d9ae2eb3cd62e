"""The server's half of a fidelity run, simulated: its engine does a step at a time, and its client ends in time."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from augserve.data.workload.model import Session, Turn
from augserve.models.serving.predictor import Predictor
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.server.replay.run import DRAIN_S
from augserve.pipeline.simulator import engine
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import Bench, build_policy
from augserve.pipeline.simulator.record.records import SimulationResult, TurnRecord

from .calibration import Calibration, Overheads
from .params import BLOCK_TOKENS


class SynchronousSimulation(Simulation):
    """vLLM on a CPU: asynchronous scheduling is off there (`platforms/cpu.py`), so that a step's output is known
    before the next one is scheduled. Turns that are due at `last_arrival_s` or later are not sent, as by a replay."""

    last_arrival_s = float("inf")

    def _arrive(self, time_s: float, index: int, turn: int) -> None:
        if time_s < self.last_arrival_s:
            super()._arrive(time_s, index, turn)

    def _step(self) -> None:
        super()._step()
        while self._under_way:
            self._finish_oldest()


def simulate(
    policy: str,
    sessions: Sequence[Session],
    duration_s: float,
    calibration: Calibration,
    settings: SchedulerSettings,
    predictor: Predictor | None,
) -> SimulationResult:
    """One load as its client would see it. Raises SimulationError as the simulator does."""
    overheads = calibration.overheads
    shifted = tuple(at_the_engine(session, overheads) for session in sessions)
    clock = VirtualClock()
    with _cpu_blocks():
        scheduler = build_policy(policy, Bench(calibration.profile.limits, settings, predictor, shifted, clock))
        try:
            simulation = SynchronousSimulation(scheduler, calibration.profile, clock, shifted)
            simulation.last_arrival_s = duration_s + overheads.arrival_s
            result = simulation.run(duration_s + DRAIN_S)
        finally:
            scheduler.shutdown()
    turns = tuple(at_the_client(turn, overheads) for turn in result.turns)
    return SimulationResult(turns, result.totals, result.end_s)


@contextmanager
def _cpu_blocks() -> Iterator[None]:
    """The simulator's KV blocks are a GPU's, of 16 tokens; vLLM's CPU attention takes multiples of 32 only."""
    before = engine.BLOCK_TOKENS
    engine.BLOCK_TOKENS = BLOCK_TOKENS
    engine.block_hasher.cache_clear()
    try:
        yield
    finally:
        engine.BLOCK_TOKENS = before
        engine.block_hasher.cache_clear()


def at_the_engine(session: Session, overheads: Overheads) -> Session:
    """The session with its turns when they reach the engine: a tool's time begins when the client has the output."""
    both_s = overheads.response_s + overheads.arrival_s

    def later(turn: Turn) -> Turn:
        call = turn.tool_call
        if call is None:
            return turn
        return dataclasses.replace(turn, tool_call=dataclasses.replace(call, duration_s=call.duration_s + both_s))

    turns = tuple(later(turn) for turn in session.turns)
    return dataclasses.replace(session, arrival_s=session.arrival_s + overheads.arrival_s, turns=turns)


def at_the_client(turn: TurnRecord, overheads: Overheads) -> TurnRecord:
    """The record in the client's times."""

    def seen(time_s: float | None) -> float | None:
        return None if time_s is None else time_s + overheads.response_s

    return dataclasses.replace(
        turn,
        arrival_s=max(turn.arrival_s - overheads.arrival_s, 0.0),
        first_token_s=seen(turn.first_token_s),
        finish_s=seen(turn.finish_s),
    )
