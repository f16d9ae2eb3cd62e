"""A data card: the contents of a set of traces, measured from its tables."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ...data.tables.files import TableName, read_table
from ...data.tables.schema import TABLES
from ..project.public_sets import PublicSet

_LEVELS = (0.1, 0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Quantiles:
    count: int  # of values that are not null
    p10: float
    p50: float
    p90: float
    p99: float
    largest: float


_NULL_MEANS_NONE = ("parent_session_id", "agent_session_id")


@dataclass(frozen=True, slots=True)
class Card:
    name: str
    sessions: int  # with those of sub-agents
    agents: int  # sub-agents
    turns: int
    tool_calls: int
    steps: int
    span_s: float  # first arrival to last arrival
    turns_per_session: Quantiles | None
    prompt_tokens: Quantiles | None
    output_tokens: Quantiles | None
    tool_duration_s: dict[str, Quantiles]  # by tool, the most frequent first
    finish_reasons: dict[str, int]
    timings: dict[str, int]  # the ways in which tool durations were measured
    null_shares: dict[str, float]  # `table.column` → share of rows, where not 0
    licence: str | None = None
    source: tuple[str, ...] = field(default=())
    defects: tuple[str, ...] = field(default=())


def measure_card(name: str, folder: Path, public: PublicSet | None = None) -> Card:
    """The card of the set in `folder`, which needs a table of turns only. Raises TraceError for an unusable table."""
    turns, calls, steps = (read_optional(folder, table) for table in ("turns", "tool_calls", "steps"))
    sessions = turns.group_by(["source", "session_id"]).aggregate([("turn", "count"), ("parent_session_id", "count")])
    lengths = sessions["turn_count"]
    return Card(
        name=name,
        sessions=len(lengths),
        agents=pc.sum(pc.greater(sessions["parent_session_id_count"], 0)).as_py() or 0,
        turns=turns.num_rows,
        tool_calls=calls.num_rows,
        steps=steps.num_rows,
        span_s=pc.max(turns["arrival_s"]).as_py() - pc.min(turns["arrival_s"]).as_py() if turns.num_rows else 0.0,
        turns_per_session=_quantiles(lengths),
        prompt_tokens=_quantiles(turns["prompt_tokens"]),
        output_tokens=_quantiles(turns["output_tokens"]),
        tool_duration_s={tool: found for tool, values in durations_by_tool(calls) if (found := _quantiles(values))},
        finish_reasons=_counts(turns["finish_reason"]),
        timings=_counts(calls["timing"]),
        null_shares={
            f"{table_name}.{column}": table[column].null_count / table.num_rows
            for table_name, table in (("turns", turns), ("tool_calls", calls))
            for column in table.column_names
            if table[column].null_count and column not in _NULL_MEANS_NONE
        },
        licence=public.facts.licence if public else None,
        source=tuple(f"{part.repository} @ {part.commit}, {part.path}" for part in public.imports) if public else (),
        defects=public.facts.defects if public else (),
    )


def durations_by_tool(calls: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Each tool with its durations in seconds, the most frequent tool first."""
    for tool in _counts(calls["tool"]):
        yield tool, calls.filter(pc.equal(calls["tool"], tool))["duration_s"]


def read_optional(folder: Path, name: TableName) -> pa.Table:
    """A table of the set; `tool_calls` and `steps` may be missing and are then empty."""
    if name != "turns" and not any(folder.glob(f"{name}*.parquet")):
        return TABLES[name].empty_table()
    return read_table(folder, name)


def _quantiles(values: pa.ChunkedArray) -> Quantiles | None:
    count = len(values) - values.null_count
    if not count:
        return None
    return Quantiles(count, *(float(value) for value in pc.quantile(values, q=list(_LEVELS)).to_pylist()))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Value → rows, the most frequent first; a null counts as "not recorded"."""
    counted = {entry["values"] or "not recorded": entry["counts"] for entry in pc.value_counts(column).to_pylist()}
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
