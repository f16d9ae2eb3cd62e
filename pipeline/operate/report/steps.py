"""The recorded steps of an engine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ....data.tables.files import read_table
from ...project.stage import StageError

Column = NDArray[np.float64]
IDLE_GAP_S = 0.05
"""The engine was idle between two steps that lie further apart."""
LEAST_STEPS = 50
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
    def are_scheduled_ahead(self) -> bool:
        """Whether most steps are scheduled before the one before has ended: vLLM's asynchronous scheduling."""
        ended_s, early = -np.inf, 0
        for start_s, step_s in zip(self.columns["start_s"], self.columns["step_s"], strict=True):
            early += start_s < ended_s - 1e-6
            ended_s = max(ended_s, start_s) + (0.0 if np.isnan(step_s) else step_s)
        return early > len(self.columns["start_s"]) / 2


def _of_one_engine(steps: pa.Table) -> pa.Table:
    """The rows of the engine with the most. Starts of one engine, and rows without an engine, count as one."""
    numbers = pc.list_element(pc.split_pattern(pc.fill_null(steps.column("engine"), ""), "-"), 0)
    if len(numbers.unique()) < 2:
        return steps
    counts = {count["values"]: count["counts"] for count in pc.value_counts(numbers).to_pylist()}
    return steps.filter(pc.equal(numbers, max(counts, key=lambda number: (counts[number], number))))
