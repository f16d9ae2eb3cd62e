"""The three tables of a trace, as pyarrow schemas with a version.

Times are seconds (float64) on one clock per source: Unix time from a live server, virtual time from the simulator.
A null means "unknown", never zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, NoneType
from typing import Annotated, NamedTuple, get_args, get_type_hints

import pyarrow as pa

String = Annotated[str, pa.string()]
Bool = Annotated[bool, pa.bool_()]
Int32 = Annotated[int, pa.int32()]
Int64 = Annotated[int, pa.int64()]
Float32 = Annotated[float, pa.float32()]
Float64 = Annotated[float, pa.float64()]
Int16List = Annotated[Sequence[int], pa.list_(pa.int16())]
Int32List = Annotated[Sequence[int], pa.list_(pa.int32())]
Int64List = Annotated[Sequence[int], pa.list_(pa.int64())]
Float32List = Annotated[Sequence[float | None], pa.list_(pa.float32())]

SCHEMA_VERSION = 4
CLOCK_S = 1.0
"""Some sources have whole seconds: an event may seem to be so much earlier than one before it."""
LONGEST_PAUSE_S = 7 * 86_400.0
"""No tool call lasts longer."""
ADDED_COLUMNS: Mapping[int, frozenset[str]] = MappingProxyType(
    {
        3: frozenset(
            (
                "parent_session_id",
                "prefix_id",
                "prefix_tokens",
                "block_hashes",
                "block_tokens",
                "block_scope",
                "agent_session_id",
            )
        ),
        4: frozenset(("engine",)),
    }
)
"""Columns by the version that added them. A table of an older version is read with nulls in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRow:
    """One turn: the columns of the table `turns`."""

    source: String  # the set of traces
    session_id: String
    turn: Int32  # from 0
    parent_session_id: String | None = None  # the session whose turn started this sub-agent
    tenant: String | None = None  # as a hash
    model: String | None = None  # the name in the trace
    split_group: String | None = None  # shared by sessions with the same records; null: the session itself
    request_id: String | None = None
    arrival_s: Float64
    first_token_s: Float64 | None = None
    finish_s: Float64 | None = None
    prompt_tokens: Int32
    cached_tokens: Int32 | None = None  # prompt tokens in the prefix cache at admission
    output_tokens: Int32
    max_tokens: Int32 | None = None
    temperature: Float32 | None = None
    top_p: Float32 | None = None
    structured: Bool | None = None
    finish_reason: String | None = None  # stop, length, abort, error
    tools_offered: Int32 | None = None
    tool_called: String | None = None  # the first of parallel calls
    tail_counts: Int16List | None = None  # hashed n-grams of the prompt's tail (prompt_tail.py)
    features_version: Int32 | None = None
    features: Float32List | None = None  # the vector as computed at arrival
    scheduler_version: String | None = None
    prompt_token_ids: Int32List | None = None  # this and the next column: recorded on request only
    output_token_ids: Int32List | None = None
    prefix_id: String | None = None  # names the first `prefix_tokens` of the prompt, which other sessions share
    prefix_tokens: Int32 | None = None
    block_hashes: Int64List | None = None  # of the prompt's blocks from its start, where the source has them
    block_tokens: Int32 | None = None  # tokens of a block
    block_scope: String | None = None  # equal hashes mean equal blocks within one scope
    engine: String | None = None  # its number and its start: the engine that numbered the turn


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallRow:
    """One tool call: the columns of the table `tool_calls`."""

    source: String
    session_id: String
    turn: Int32  # the turn that made the call
    call: Int32  # from 0, in the turn's order
    tool: String
    argument_count: Int32 | None = None
    argument_bytes: Int32 | None = None
    argument_head: String | None = None  # the command word, as a hash unless text is recorded on request
    start_s: Float64
    duration_s: Float64
    timing: String  # call: measured; pause: time to the next arrival; modelled
    result_tokens: Int32 | None = None
    agent_session_id: String | None = None  # the session of the sub-agent that the call ran


class StepRow(NamedTuple):
    """One engine step: the columns of the table `steps` after `source` and `engine`."""

    step: Int64
    start_s: Float64
    prefill_tokens: Int32
    decode_sequences: Int32
    context_tokens: Int64  # KV tokens that the step attends to
    kv_usage: Float32  # share of the KV blocks in use, 0 to 1
    waiting: Int32  # requests
    running: Int32  # requests
    token_budget: Int32
    schedule_s: Float32  # time spent in schedule()
    step_s: Float32 = math.nan  # engine time: from the last output, or this schedule if later, to this output


def _schema(row: type, *first: pa.Field) -> pa.Schema:
    """The columns `first` and one for each field of `row`; a field that may be None is nullable."""
    columns = list(first)
    for name, column in get_type_hints(row, include_extras=True).items():
        nullable = NoneType in get_args(column)
        annotated = get_args(column)[0] if nullable else column
        columns.append(pa.field(name, annotated.__metadata__[0], nullable=nullable))
    return pa.schema(columns, metadata={b"augserve.schema_version": str(SCHEMA_VERSION).encode()})


TURNS = _schema(TurnRow)
TOOL_CALLS = _schema(ToolCallRow)
STEPS = _schema(StepRow, pa.field("source", pa.string(), nullable=False), pa.field("engine", pa.string()))
TABLES = {"turns": TURNS, "tool_calls": TOOL_CALLS, "steps": STEPS}
