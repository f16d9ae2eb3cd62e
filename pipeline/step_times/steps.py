"""The recorded steps of an engine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...data.tables.files import read_table
from ..project.stage import StageError
from .chunks import PromptChunks, prompt_chunks
from .recorded import Steps

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
TURN_COLUMNS = ("arrival_s", "first_token_s", "prompt_tokens", "cached_tokens")


@dataclass(frozen=True, slots=True)
class RecordedSteps:
    """The steps of one folder in their order, each column of shape (n,); of several engines those of the busiest."""

    columns: dict[str, Column]
    begins_s: Column  # when each begins to run: at its start, or at the end of the step before if it is scheduled ahead
    chunks: PromptChunks
    budget: int  # the largest token budget of a step

    @classmethod
    def read(cls, folder: Path) -> "RecordedSteps":
        """Raises TraceError for unusable files, StageError for too few steps."""
        table = _of_one_engine(read_table(folder, "steps", [*COLUMNS, "token_budget", "engine"])).sort_by("start_s")
        if len(table) < LEAST_STEPS:
            raise StageError(f"{folder}: {len(table)} steps are too few to know the engine; record for longer")
        columns = {name: table.column(name).to_numpy().astype(np.float64) for name in COLUMNS}
        turns = read_table(folder, "turns", [*TURN_COLUMNS, "engine"])
        budget = int(table.column("token_budget").to_numpy().max())
        begins_s = _begins_s(columns["start_s"], columns["step_s"])
        return cls(columns, begins_s, prompt_chunks(begins_s, table, _of_engines(turns, table)), budget)

    @property
    def cycles_s(self) -> Column:
        """From the begin of each step to that of the next; NaN before an idle phase."""
        gaps_s = np.append(np.diff(self.begins_s), np.nan)
        gaps_s[gaps_s - self.columns["step_s"] > IDLE_GAP_S] = np.nan
        return gaps_s

    def known(self) -> Steps:
        """The steps that did something and whose time is known, with all that their times depend on."""
        prefill_tokens, decodes, context_tokens = (
            self.columns[name] for name in ("prefill_tokens", "decode_sequences", "context_tokens")
        )
        seconds = self.cycles_s
        kept = (np.nan_to_num(seconds) > 0) & (prefill_tokens + decodes > 0)
        return Steps(
            prefill_tokens[kept],
            decodes[kept],
            context_tokens[kept],
            self.chunks.pairs[kept],
            self.chunks.kv_tokens[kept],
            seconds[kept],
        )

    @property
    def busy_s(self) -> float:
        """Engine time of all steps."""
        return float(np.nansum(self.columns["step_s"]))

    @property
    def are_scheduled_ahead(self) -> bool:
        """Whether most steps are scheduled before the one before has ended: vLLM's asynchronous scheduling."""
        early = self.begins_s > self.columns["start_s"] + 1e-6
        return bool(early.mean() > 0.5)


def _begins_s(starts_s: Column, steps_s: Column) -> Column:
    begins_s, ended_s = starts_s.copy(), -np.inf
    for at, (start_s, step_s) in enumerate(zip(starts_s.tolist(), np.nan_to_num(steps_s).tolist(), strict=True)):
        begins_s[at] = max(start_s, ended_s)
        ended_s = begins_s[at] + step_s
    return begins_s


def _of_one_engine(steps: pa.Table) -> pa.Table:
    """The rows of the engine with the most. Starts of one engine, and rows without an engine, count as one."""
    numbers = _engine_numbers(steps)
    if len(numbers.unique()) < 2:
        return steps
    counts = {count["values"]: count["counts"] for count in pc.value_counts(numbers).to_pylist()}
    return steps.filter(pc.equal(numbers, max(counts, key=lambda number: (counts[number], number))))


def _of_engines(turns: pa.Table, steps: pa.Table) -> pa.Table:
    """The turns that the engine of these steps served."""
    return turns.filter(pc.is_in(_engine_numbers(turns), value_set=pc.unique(_engine_numbers(steps))))


def _engine_numbers(rows: pa.Table) -> pa.Array:
    """The number of each row's engine, the same after a restart; empty where it is not known."""
    return pc.list_element(pc.split_pattern(pc.fill_null(rows.column("engine"), ""), "-"), 0)
