"""Calibrates the simulator for this machine from runs on one server: step times and overheads."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augserve.data.tables.files import read_table, write_table
from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.pipeline.profile.cpu import cpu_profile
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.server.replay.report import Replayed
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.step_times.chunks import prompt_chunks
from augserve.pipeline.step_times.scaling import slowed
from augserve.runtime.recording.rows import session_name

GAP_LIMIT_S = 0.05
"""The engine was idle between two steps with a longer gap."""
LEAST_SAMPLES = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Overheads:
    """Medians of delays outside the steps, seconds."""

    request_s: float  # from the due time of a turn to its arrival in the API server: client, HTTP, tokenizer
    handover_s: float  # from there to the first step of an idle engine
    response_s: float  # from the first token in the engine to the first token at the client

    @property
    def arrival_s(self) -> float:
        return self.request_s + self.handover_s


@dataclass(frozen=True, slots=True)
class Calibration:
    profile: StepProfile  # of a busy engine, from the start of a step to the start of the next
    overheads: Overheads
    pace_s: float  # seconds a token, see pace.py

    def at_pace(self, pace_s: float) -> "Calibration":
        """The calibration at another speed of the machine: all step times are scaled.

        `linear`, which the scheduler uses, stays: no deployment would measure it again each minute.
        """
        profile = slowed(self.profile, pace_s / self.pace_s)
        return dataclasses.replace(self, profile=profile, pace_s=pace_s)


def calibrate(recorded: Path, runs: Sequence[Replayed], pace_s: float, limits: EngineLimits) -> Calibration:
    """Calibrate from the recorded traces of runs, the client's view of them, and the pace around them.

    Raises StageError for too few steps or turns, TraceError without a trace.
    """
    steps, turns = _steps_of(recorded, runs), read_table(recorded, "turns")
    path = recorded / "calibration.parquet"
    write_table(path, "steps", cycles(steps))
    chunks = prompt_chunks(steps.column("start_s").to_numpy(), steps, turns)
    profile, _, _ = cpu_profile(path, chunks.pairs)
    measured = overheads(steps, turns, runs, Pseudonyms.kept_in(recorded))
    return Calibration(dataclasses.replace(profile, limits=limits), measured, pace_s)


def cycles(steps: pa.Table) -> pa.Table:
    """The steps with their gaps to the next step, which a busy engine spends on queues and outputs.

    Steps before an idle phase get the median gap instead. Raises StageError for too few steps without idle phase.
    """
    start_s = steps.column("start_s").to_numpy()
    step_s = steps.column("step_s").to_numpy().astype(float)
    gaps_s = np.append(np.maximum(start_s[1:] - start_s[:-1] - step_s[:-1], 0.0), np.inf)
    busy = gaps_s < GAP_LIMIT_S
    loop_s = _median("steps one after another", gaps_s[busy].tolist())
    whole_s = step_s + np.where(busy, gaps_s, loop_s)
    column = steps.schema.get_field_index("step_s")
    field = steps.schema.field(column)
    return steps.set_column(column, field, pa.array(whole_s, field.type))


def overheads(steps: pa.Table, turns: pa.Table, runs: Sequence[Replayed], names: Pseudonyms) -> Overheads:
    """`names`: those of the recorded turns. Raises StageError if client and recorder share too few turns."""
    start_s = steps.column("start_s").to_numpy()
    end_s = start_s + steps.column("step_s").to_numpy().astype(float)
    rows = {(row["session_id"], row["turn"]): row for row in turns.to_pylist()}
    request_s, response_s, arrivals_s = list[float](), list[float](), list[float]()
    for replayed, seen in ((run, turn) for run in runs for turn in run.turns):
        row = rows.get((session_name(seen.session_id, names), seen.turn))
        if row is None or seen.first_token_s is None or row["first_token_s"] is None:
            continue
        arrivals_s.append(row["arrival_s"])
        request_s.append(row["arrival_s"] - (replayed.started_at_s + seen.due_s))
        response_s.append(replayed.started_at_s + seen.first_token_s - row["first_token_s"])
    return Overheads(
        request_s=_median("turns of both client and recorder", request_s),
        handover_s=_handover(_handovers(arrivals_s, start_s, end_s)),
        response_s=_median("turns of both client and recorder", response_s),
    )


def _handovers(arrivals_s: Sequence[float], start_s: NDArray[np.float64], end_s: NDArray[np.float64]) -> list[float]:
    """Waits for the next step, of turns that arrived while no step was running."""
    waits_s = []
    for arrival_s, step in zip(arrivals_s, np.searchsorted(start_s, arrivals_s), strict=True):
        if step < len(start_s) and (step == 0 or end_s[step - 1] < arrival_s):
            waits_s.append(float(start_s[step] - arrival_s))
    return waits_s


def _handover(waits_s: Sequence[float]) -> float:
    if len(waits_s) < LEAST_SAMPLES:
        logger.warning("calibration: only %d turns reached an idle engine; the handover is set to 0", len(waits_s))
        return 0.0
    return float(np.median(waits_s))


def _median(what: str, values: Sequence[float]) -> float:
    if len(values) < LEAST_SAMPLES:
        raise StageError(
            f"fidelity: the calibration run holds {len(values)} {what}, {LEAST_SAMPLES} are needed; "
            "raise fidelity.calibration_s or fidelity.calibration_rate_per_s in params.yaml"
        )
    return max(float(np.median(values)), 0.0)


def _steps_of(recorded: Path, runs: Sequence[Replayed]) -> pa.Table:
    """The steps of the runs in order, without those of the warm-up and of the pace."""
    steps = read_table(recorded, "steps").sort_by([("start_s", "ascending"), ("step", "ascending")])
    start_s = steps.column("start_s").to_numpy()
    within = [(run.started_at_s <= start_s) & (start_s < run.started_at_s + run.end_s) for run in runs]
    return steps.filter(pa.array(np.any(within, axis=0)))
