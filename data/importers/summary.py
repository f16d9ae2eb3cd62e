"""The contents of an import, and its problems."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .contract import Context


@dataclass(frozen=True, slots=True)
class ImportSummary:
    turns: int
    tool_calls: int
    steps: int
    sessions: int  # with those of sub-agents
    agents: int  # sub-agents: sessions with a parent
    span_s: float  # from the first arrival to the last arrival or finish; 0 without turns
    tools: pd.DataFrame  # by tool, the most frequent first: `calls`, and the durations `p50_s`, `p90_s` and `max_s`
    exact_tokens: bool  # False: tokens of text are estimates
    counted_texts: int  # texts whose tokens were counted; 0: the format has counts of its own
    skipped: Mapping[str, int]  # malformed records by cause
    left_out: Mapping[str, int]  # records left out or altered by rule
    named: tuple[str, ...]  # the first problems: "file:line: cause"


def summarize(folder: Path, context: Context, numbered: bool) -> ImportSummary:
    """The summary of an import into `folder`; `numbered`: each turn is a session."""
    turns, tool_calls, steps = (
        pq.ParquetFile(folder / f"{name}.parquet").metadata.num_rows for name in ("turns", "tool_calls", "steps")
    )
    return ImportSummary(
        turns=turns,
        tool_calls=tool_calls,
        steps=steps,
        sessions=turns if numbered else _session_count(folder),
        agents=_session_count(folder, pc.field("parent_session_id").is_valid()),
        span_s=_span_s(folder) if turns else 0.0,
        tools=_tools(folder),
        exact_tokens=context.tokens.exact,
        counted_texts=context.tokens.counted_texts,
        skipped=dict(context.problems.skipped.most_common()),
        left_out=dict(context.problems.left_out.most_common()),
        named=tuple(context.problems.named),
    )


def _session_count(folder: Path, filters: pc.Expression | None = None) -> int:
    keys = ["source", "session_id"]
    table = pq.read_table(folder / "turns.parquet", columns=keys, read_dictionary=keys, filters=filters)
    return int(table.unify_dictionaries().group_by(keys).aggregate([]).num_rows)


def _span_s(folder: Path) -> float:
    times = pq.read_table(folder / "turns.parquet", columns=["arrival_s", "finish_s"])
    last_s = pc.max_element_wise(pc.max(times["arrival_s"]), pc.max(times["finish_s"]))
    return float(last_s.as_py() - pc.min(times["arrival_s"]).as_py())


def _tools(folder: Path) -> pd.DataFrame:
    columns = pq.read_table(folder / "tool_calls.parquet", columns=["tool", "duration_s"], read_dictionary=["tool"])
    durations = columns.to_pandas().groupby("tool", observed=True)["duration_s"]
    quantiles = {"p50_s": durations.quantile(0.5), "p90_s": durations.quantile(0.9), "max_s": durations.max()}
    return pd.DataFrame({"calls": durations.size()} | quantiles).sort_values("calls", ascending=False, kind="stable")
