"""The recorded engine: the profile nearest to its step times, scaled to them, and its limits as far as steps tell."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ....data.tables.files import read_table
from ...project.stage import StageError
from ...simulator.fleet.replica import ASYNCHRONOUS, SYNCHRONOUS
from ...simulator.profile import EngineLimits, PrefillAttention, StepProfile

Column = NDArray[np.float64]
IDLE_GAP_S = 0.05
"""The engine was idle between two steps that lie further apart."""
LEAST_STEPS = 50
LEAST_USAGE = 0.02
"""Share of the KV cache in use from which its size is estimated."""
COLUMNS = (
    "start_s",
    "step_s",
    "prefill_tokens",
    "decode_sequences",
    "context_tokens",
    "kv_usage",
    "running",
    "waiting",
)


@dataclass(frozen=True, slots=True)
class RecordedSteps:
    """The steps of one folder in their order, each column of shape (n,); of several engines those of the busiest."""

    columns: dict[str, Column]
    budget: int  # the largest token budget of a step

    @classmethod
    def read(cls, folder: Path) -> "RecordedSteps":
        """Raises TraceError for unusable files, StageError for too few steps."""
        table = _of_one_engine(read_table(folder, "steps", [*COLUMNS, "token_budget", "engine"])).sort_by("start_s")
        if len(table) < LEAST_STEPS:
            raise StageError(f"{folder}: {len(table)} steps are too few to know the engine; record for longer")
        columns = {name: table.column(name).to_numpy().astype(np.float64) for name in COLUMNS}
        return cls(columns, int(table.column("token_budget").to_numpy().max()))

    @property
    def cycles_s(self) -> Column:
        """From the start of each step to that of the next; NaN before an idle phase."""
        starts_s = self.columns["start_s"]
        gaps_s = np.append(np.diff(starts_s), np.nan)
        gaps_s[gaps_s - self.columns["step_s"] > IDLE_GAP_S] = np.nan
        return gaps_s

    @property
    def busy_s(self) -> float:
        """Engine time of all steps."""
        return float(np.nansum(self.columns["step_s"]))

    @property
    def batches(self) -> int:
        """Batches in flight: with asynchronous scheduling most steps are scheduled before the one before has ended."""
        ended_s, early = -np.inf, 0
        for start_s, step_s in zip(self.columns["start_s"], self.columns["step_s"], strict=True):
            early += start_s < ended_s - 1e-6
            ended_s = max(ended_s, start_s) + (0.0 if np.isnan(step_s) else step_s)
        return ASYNCHRONOUS if early > len(self.columns["start_s"]) / 2 else SYNCHRONOUS


def _of_one_engine(steps: pa.Table) -> pa.Table:
    """The rows of the engine with the most. Starts of one engine, and rows without an engine, count as one."""
    numbers = pc.list_element(pc.split_pattern(pc.fill_null(steps.column("engine"), ""), "-"), 0)
    if len(numbers.unique()) < 2:
        return steps
    counts = {count["values"]: count["counts"] for count in pc.value_counts(numbers).to_pylist()}
    return steps.filter(pc.equal(numbers, max(counts, key=lambda number: (counts[number], number))))


@dataclass(frozen=True, slots=True)
class Engine:
    """A profile that stands for the recorded engine."""

    profile: StepProfile
    factor: float  # on all of its times
    median_error: float  # of a step's time, relative
    batches: int


def nearest_engine(steps: RecordedSteps, profiles: Sequence[StepProfile], longest_tokens: int) -> Engine:
    """The profile with the least median error once its total time is that of the recording.

    `longest_tokens`: of one request, which the engine's limits must admit. Raises StageError without a profile.
    """
    if not profiles:
        raise StageError("no profile of an engine: give --profile, or run in a clone")
    columns, cycles_s = steps.columns, steps.cycles_s
    counts = [columns[name].astype(np.int64) for name in ("prefill_tokens", "decode_sequences", "context_tokens")]
    known = np.flatnonzero((np.nan_to_num(cycles_s) > 0) & (counts[0] + counts[1] > 0))
    if known.size < LEAST_STEPS:
        raise StageError(f"{known.size} steps in a row are too few to know the engine; record under load")
    actual_s = cycles_s[known]
    found = []
    for profile in profiles:
        expected_s = np.array([profile.step_s(*(int(count[step]) for count in counts)) for step in known])
        factor = float(actual_s.sum() / expected_s.sum())
        error = float(np.median(np.abs(factor * expected_s / actual_s - 1)))
        found.append((error, factor, profile))
    error, factor, profile = min(found, key=lambda each: each[0])
    limits = _limits(steps, profile.limits, longest_tokens)
    return Engine(_scaled(profile, factor, limits), factor, error, steps.batches)


def _scaled(profile: StepProfile, factor: float, limits: EngineLimits) -> StepProfile:
    prefill = profile.prefill
    if prefill is not None:
        prefill = PrefillAttention(*(time_s * factor for time_s in dataclasses.astuple(prefill)))
    tokens, table_s = list(profile.tokens), [time_s * factor for time_s in profile.table_s]
    if tokens[-1] < limits.max_num_batched_tokens:
        slope = (table_s[-1] - table_s[-2]) / (tokens[-1] - tokens[-2])
        table_s.append(table_s[-1] + slope * (limits.max_num_batched_tokens - tokens[-1]))
        tokens.append(limits.max_num_batched_tokens)
    return dataclasses.replace(
        profile,
        limits=limits,
        tokens=tuple(tokens),
        table_s=tuple(table_s),
        per_decode_s=profile.per_decode_s * factor,
        per_context_token_s=profile.per_context_token_s * factor,
        prefill=prefill,
    )


def _limits(steps: RecordedSteps, usual: EngineLimits, longest_tokens: int) -> EngineLimits:
    """What the steps tell of the engine's limits, and the profile's for the rest."""
    columns = steps.columns
    used = columns["kv_usage"] > LEAST_USAGE
    kv_tokens = usual.kv_tokens
    if used.sum() >= LEAST_STEPS:
        kv_tokens = round(float(np.median(columns["context_tokens"][used] / columns["kv_usage"][used])))
    crowded = columns["running"][columns["waiting"] > 0]
    most = int(columns["running"].max())
    sequences = most if crowded.size and np.median(crowded) >= 0.9 * most else max(usual.max_num_seqs, most)
    kv_tokens = max(kv_tokens, longest_tokens + 2 * usual.block_tokens)
    return dataclasses.replace(
        usual,
        kv_tokens=kv_tokens,
        max_model_len=longest_tokens,
        max_num_batched_tokens=max(steps.budget, sequences),
        max_num_seqs=sequences,
    )
