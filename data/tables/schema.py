"""The three tables of a trace, as pyarrow schemas with a version.

Times are seconds (float64) on one clock per source: Unix time from a live server, virtual time from the simulator.
A null means "unknown", never zero.
"""

import math
from typing import Annotated, NamedTuple, get_type_hints

import pyarrow as pa

Int32 = Annotated[int, pa.int32()]
Int64 = Annotated[int, pa.int64()]
Float32 = Annotated[float, pa.float32()]
Float64 = Annotated[float, pa.float64()]

SCHEMA_VERSION = 2
_METADATA = {b"augserve.schema_version": str(SCHEMA_VERSION).encode()}

TURNS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # the set of traces
        pa.field("session_id", pa.string(), nullable=False),
        pa.field("turn", pa.int32(), nullable=False),  # from 0
        pa.field("tenant", pa.string()),  # as a hash
        pa.field("model", pa.string()),  # the name in the trace
        pa.field("split_group", pa.string()),  # shared by sessions with the same records; null: the session itself
        pa.field("request_id", pa.string()),
        pa.field("arrival_s", pa.float64(), nullable=False),
        pa.field("first_token_s", pa.float64()),
        pa.field("finish_s", pa.float64()),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("cached_tokens", pa.int32()),  # prompt tokens in the prefix cache at admission
        pa.field("output_tokens", pa.int32(), nullable=False),
        pa.field("max_tokens", pa.int32()),
        pa.field("temperature", pa.float32()),
        pa.field("top_p", pa.float32()),
        pa.field("structured", pa.bool_()),
        pa.field("finish_reason", pa.string()),  # stop, length, abort, error
        pa.field("tools_offered", pa.int32()),
        pa.field("tool_called", pa.string()),  # the first of parallel calls
        pa.field("tail_counts", pa.list_(pa.int16())),  # hashed n-grams of the prompt's tail (prompt_tail.py)
        pa.field("features_version", pa.int32()),
        pa.field("features", pa.list_(pa.float32())),  # the vector as computed at arrival
        pa.field("scheduler_version", pa.string()),
        pa.field("prompt_token_ids", pa.list_(pa.int32())),  # this and the next column: recorded on request only
        pa.field("output_token_ids", pa.list_(pa.int32())),
    ],
    metadata=_METADATA,
)

TOOL_CALLS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("session_id", pa.string(), nullable=False),
        pa.field("turn", pa.int32(), nullable=False),  # the turn that made the call
        pa.field("call", pa.int32(), nullable=False),  # from 0, in the turn's order
        pa.field("tool", pa.string(), nullable=False),
        pa.field("argument_count", pa.int32()),
        pa.field("argument_bytes", pa.int32()),
        pa.field("argument_head", pa.string()),  # the command word, as a hash unless text is recorded on request
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("timing", pa.string(), nullable=False),  # call: measured; pause: time to the next arrival; modelled
        pa.field("result_tokens", pa.int32()),
    ],
    metadata=_METADATA,
)


class StepRow(NamedTuple):
    """One engine step: the columns of the table `steps` after `source`."""

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


STEPS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        *(
            pa.field(name, column.__metadata__[0], nullable=False)
            for name, column in get_type_hints(StepRow, include_extras=True).items()
        ),
    ],
    metadata=_METADATA,
)

TABLES = {"turns": TURNS, "tool_calls": TOOL_CALLS, "steps": STEPS}
