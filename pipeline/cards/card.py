"""A data card: what a set of traces holds, measured from its tables."""

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
    count: int  # values known
    p10: float
    p50: float
    p90: float
    p99: float
    largest: float


@dataclass(frozen=True, slots=True)
class Card:
    name: str
    sessions: int
    turns: int
    tool_calls: int
    steps: int
    span_s: float  # first arrival to last arrival
    turns_per_session: Quantiles | None
    prompt_tokens: Quantiles | None
    output_tokens: Quantiles | None
    tool_duration_s: dict[str, Quantiles]  # by tool, the most frequent first
    finish_reasons: dict[str, int]
    timings: dict[str, int]  # how tool durations were measured
    null_shares: dict[str, float]  # `table.column` → share of rows, where not 0
    licence: str | None = None
    source: tuple[str, ...] = field(default=())
    defects: tuple[str, ...] = field(default=())


def measure_card(name: str, folder: Path, public: PublicSet | None = None) -> Card:
    """The card of the set in `folder`. Raises TraceError for an unusable table; only turns must be there."""
    turns, calls, steps = (_read(folder, table) for table in ("turns", "tool_calls", "steps"))
    arrivals = pc.min_max(turns["arrival_s"])
    lengths = pc.value_counts(pc.binary_join_element_wise(turns["source"], turns["session_id"], "\n")).field("counts")
    return Card(
        name=name,
        sessions=len(lengths),
        turns=turns.num_rows,
        tool_calls=calls.num_rows,
        steps=steps.num_rows,
        span_s=arrivals["max"].as_py() - arrivals["min"].as_py() if turns.num_rows else 0.0,
        turns_per_session=quantiles(lengths),
        prompt_tokens=quantiles(turns["prompt_tokens"]),
        output_tokens=quantiles(turns["output_tokens"]),
        tool_duration_s=dict(_by_tool(calls)),
        finish_reasons=_counts(turns["finish_reason"]),
        timings=_counts(calls["timing"]),
        null_shares=dict(_null_shares("turns", turns)) | dict(_null_shares("tool_calls", calls)),
        licence=public.licence if public else None,
        source=tuple(f"{part.repository} @ {part.commit}, {part.path}" for part in public.imports) if public else (),
        defects=public.defects if public else (),
    )


def quantiles(values: pa.ChunkedArray | pa.Array) -> Quantiles | None:
    """None where no value is known."""
    known = len(values) - values.null_count
    if not known:
        return None
    return Quantiles(known, *(float(value) for value in pc.quantile(values, q=list(_LEVELS)).to_pylist()))


def durations_by_tool(calls: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Each tool with its durations in seconds, the most frequent tool first."""
    for tool in _counts(calls["tool"]):
        yield tool, calls.filter(pc.equal(calls["tool"], tool))["duration_s"]


def _read(folder: Path, name: TableName) -> pa.Table:
    if name != "turns" and not any(folder.glob(f"{name}*.parquet")):
        return TABLES[name].empty_table()
    return read_table(folder, name)


def _by_tool(calls: pa.Table) -> Iterator[tuple[str, Quantiles]]:
    for tool, durations in durations_by_tool(calls):
        measured = quantiles(durations)
        if measured:
            yield tool, measured


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Value → rows, the most frequent first; a null counts as "not recorded"."""
    counted = {entry["values"] or "not recorded": entry["counts"] for entry in pc.value_counts(column).to_pylist()}
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _null_shares(name: str, table: pa.Table) -> Iterator[tuple[str, float]]:
    for column in table.schema.names:
        if nulls := table[column].null_count:
            yield f"{name}.{column}", nulls / table.num_rows
