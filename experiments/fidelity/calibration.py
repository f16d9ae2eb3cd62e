"""What the simulator is told of this machine, all of it measured in one calibration run: step times and overheads."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augserve.data.tables.files import read_table, write_table
from augserve.pipeline.profile.cpu import cpu_profile
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.server.replay.report import Replayed
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile

GAP_LIMIT_S = 0.05
"""A longer time between two steps is an idle engine's."""
LEAST_SAMPLES = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Overheads:
    """Medians of what a step-time profile does not hold, seconds. The simulator adds them, each where it belongs."""

    request_s: float  # from when a turn is due at the client to its arrival in the API server: client, HTTP, tokens
    handover_s: float  # from there to the first step of an engine that was idle
    response_s: float  # from the engine's first token to the client's

    @property
    def arrival_s(self) -> float:
        return self.request_s + self.handover_s


@dataclass(frozen=True, slots=True)
class Calibration:
    profile: StepProfile  # of a busy engine's cycles, from one step's start to the next one's
    overheads: Overheads
    pace_s: float  # the engine's pace at the time: seconds a token of pace.py's batch

    def at_pace(self, pace_s: float) -> "Calibration":
        """Of the same engine on a machine that has become slower or faster: all step times by the same factor.

        The profile's `linear`, which the scheduler is told, stays: no deployment would learn it anew each minute.
        """
        factor = pace_s / self.pace_s
        profile = dataclasses.replace(
            self.profile,
            table_s=tuple(time_s * factor for time_s in self.profile.table_s),
            per_decode_s=self.profile.per_decode_s * factor,
            per_context_token_s=self.profile.per_context_token_s * factor,
        )
        return dataclasses.replace(self, profile=profile, pace_s=pace_s)


def calibrate(recorded: Path, replayed: Replayed, pace_s: float, limits: EngineLimits) -> Calibration:
    """From the recorder's folder, what the client saw of the same run, and the pace around it.

    Raises StageError where too few steps or turns were recorded, TraceError where there is no trace.
    """
    steps = _steps_of(recorded, replayed)
    path = recorded / "calibration.parquet"
    write_table(path, "steps", cycles(steps))
    profile, _, _ = cpu_profile(path)
    found = overheads(steps, read_table(recorded, "turns"), replayed)
    return Calibration(dataclasses.replace(profile, limits=limits), found, pace_s)


def cycles(steps: pa.Table) -> pa.Table:
    """The steps with all that one keeps a busy engine: to the next one's start, its queues and outputs included.

    Steps that idleness follows take what lies between steps, in the median, in its place.

    Raises StageError where no step follows another at once.
    """
    start_s = steps.column("start_s").to_numpy()
    step_s = steps.column("step_s").to_numpy().astype(float)
    gaps_s = np.append(np.maximum(start_s[1:] - start_s[:-1] - step_s[:-1], 0.0), np.inf)
    busy = gaps_s < GAP_LIMIT_S
    loop_s = _median("steps one after another", gaps_s[busy].tolist())
    whole_s = step_s + np.where(busy, gaps_s, loop_s)
    at = steps.schema.get_field_index("step_s")
    return steps.set_column(at, steps.schema.field(at), pa.array(whole_s, steps.schema.field(at).type))


def overheads(steps: pa.Table, turns: pa.Table, replayed: Replayed) -> Overheads:
    """Raises StageError where too few turns are known to client and recorder."""
    start_s = steps.column("start_s").to_numpy()
    end_s = start_s + steps.column("step_s").to_numpy().astype(float)
    rows = {(row["session_id"], row["turn"]): row for row in turns.to_pylist()}
    request_s, response_s, arrivals_s = list[float](), list[float](), list[float]()
    for seen in replayed.turns:
        row = rows.get((seen.session_id, seen.turn))
        if row is None or seen.first_token_s is None or row["first_token_s"] is None:
            continue
        arrivals_s.append(row["arrival_s"])
        request_s.append(row["arrival_s"] - (replayed.started_at_s + seen.due_s))
        response_s.append(replayed.started_at_s + seen.first_token_s - row["first_token_s"])
    return Overheads(
        request_s=_median("turns that client and recorder tell", request_s),
        handover_s=_handover(_handovers(arrivals_s, start_s, end_s)),
        response_s=_median("turns that client and recorder tell", response_s),
    )


def _handovers(arrivals_s: Sequence[float], start_s: NDArray[np.float64], end_s: NDArray[np.float64]) -> list[float]:
    """Waits for the next step of the turns that found no step under way."""
    found = []
    for arrival_s, at in zip(arrivals_s, np.searchsorted(start_s, arrivals_s), strict=True):
        if at < len(start_s) and (at == 0 or end_s[at - 1] < arrival_s):
            found.append(float(start_s[at] - arrival_s))
    return found


def _handover(waits_s: Sequence[float]) -> float:
    if len(waits_s) < LEAST_SAMPLES:
        logger.warning("calibration: %d turns reached an idle engine; their handover is taken to be 0", len(waits_s))
        return 0.0
    return float(np.median(waits_s))


def _median(what: str, values: Sequence[float]) -> float:
    if len(values) < LEAST_SAMPLES:
        raise StageError(
            f"fidelity: the calibration run holds {len(values)} {what}, {LEAST_SAMPLES} are needed; "
            "raise fidelity.calibration_s or fidelity.calibration_rate_per_s in params.yaml"
        )
    return max(float(np.median(values)), 0.0)


def _steps_of(recorded: Path, replayed: Replayed) -> pa.Table:
    """The run's steps in order, without those that ran the server in or measured its pace."""
    steps = read_table(recorded, "steps").sort_by([("start_s", "ascending"), ("step", "ascending")])
    since_s = steps.column("start_s").to_numpy() - replayed.started_at_s
    return steps.filter(pa.array((since_s >= 0) & (since_s < replayed.end_s)))
