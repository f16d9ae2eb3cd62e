"""The recorded sessions in the simulator: with the policy that ran, to know the error, and with the other one."""

import dataclasses
from pathlib import Path

from ....data.workload.adjustments import Adjustments
from ....data.workload.arrivals import Recorded
from ....data.workload.schedule import Load, trace_load
from ....data.workload.trace_set import read_trace_set
from ....models.serving.bundle import Bundle
from ...simulator.clock import VirtualClock
from ...simulator.fleet.replica import ASYNCHRONOUS, SYNCHRONOUS
from ...simulator.loop import Simulation
from ...simulator.policies import PolicyInputs, build_policy
from ...step_times.engine import Engine
from .outcome import Outcome, simulated_turns


def recorded_load(folder: Path, engine: Engine, agents: int | None) -> Load:
    """The recorded sessions at their starts; with `agents`, each next one begins when one ends.

    Raises TraceError or WorkloadError for unusable traces.
    """
    adjustments = Adjustments()
    recorded = read_trace_set(folder, None, engine.profile.limits.max_model_len, adjustments)
    load = trace_load(recorded, Recorded(), None, None, 0, adjustments)
    if agents is None:
        return load
    started = [
        session if number < agents else dataclasses.replace(session, arrival_s=0.0)
        for number, session in enumerate(load.sessions)
    ]
    return Load(tuple(started), adjustments, agents)


def simulated(policy: str, load: Load, engine: Engine, bundle: Bundle) -> Outcome:
    """Run all sessions to their end. Raises SimulationError."""
    clock = VirtualClock()
    inputs = PolicyInputs(engine.profile.limits, bundle.settings, bundle.predictor, load.sessions, clock)
    scheduler = build_policy(policy, inputs)
    try:
        batches = ASYNCHRONOUS if engine.scheduled_ahead else SYNCHRONOUS
        simulation = Simulation(scheduler, engine.profile, clock, load.sessions, batches=batches, agents=load.agents)
        return Outcome.of(simulated_turns(simulation.run().turns), load.agents)
    finally:
        scheduler.shutdown()
