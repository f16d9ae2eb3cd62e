"""A run as a Chrome trace: JSON that ui.perfetto.dev and chrome://tracing show.

A process a policy, a track a session. Its slices follow one another and never overlap: waiting (arrival to the first
tokens scheduled), prefill (to the first output token), decode (to the last one), then tool, to the next arrival; it is
called `retained` where the next turn found all of the context's whole blocks still in the KV cache. Counters show
the token budget, requests running and waiting, and KV usage by step.
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....data.atomic import atomic_file
from ..engine import BLOCK_TOKENS
from ..errors import SimulationError
from .recording import Recording, SeenTurn

Event = dict[str, object]
_COUNTERS = ("token budget", "running", "waiting", "KV usage %")


@dataclass(frozen=True, slots=True)
class Run:
    policy: str
    recording: Recording
    end_s: float  # virtual time at which the simulation ended


def write_timeline(path: Path, runs: Sequence[Run]) -> None:
    """Write the runs side by side. Raises SimulationError where the file cannot be written."""
    try:
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write('{"displayTimeUnit": "ms", "traceEvents": [')
            separator = "\n"
            for number, run in enumerate(runs, 1):
                for event in events(run, number):
                    file.write(separator + json.dumps(event, allow_nan=False))
                    separator = ",\n"
            file.write("\n]}\n")
    except OSError as error:
        raise SimulationError(f"{path}: cannot be written: {error.strerror}; name a writable file") from error


def events(run: Run, pid: int) -> Iterator[Event]:
    """The trace events of one run; `ts` and `dur` are microseconds."""
    yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "ts": 0, "args": {"name": run.policy}}
    sessions: dict[str, list[SeenTurn]] = {}
    for turn in run.recording.turns:
        sessions.setdefault(turn.record.session_id, []).append(turn)
    for tid, (session_id, turns) in enumerate(sessions.items(), 1):
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "ts": 0, "args": {"name": session_id}}
        for index, turn in enumerate(turns):
            following = turns[index + 1] if index + 1 < len(turns) else None
            for name, start_s, end_s, arguments in _slices(turn, following, run.end_s):
                yield _slice(pid, tid, name, start_s, end_s, arguments)
    yield from _counters(run.recording, pid)


def _slices(
    turn: SeenTurn, following: SeenTurn | None, end_s: float
) -> Iterator[tuple[str, float, float, dict[str, object]]]:
    """(name, start, end, arguments) of the turn and of the pause after it; what goes on at the end is cut there."""
    record = turn.record
    facts: dict[str, object] = {
        "turn": record.turn,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "output_tokens": record.output_tokens,
        "preemptions": record.preemptions,
    }
    ends = (turn.scheduled_s, record.first_token_s, record.finish_s)
    start_s = record.arrival_s
    for name, at_s in zip(("waiting", "prefill", "decode"), ends, strict=True):
        yield name, start_s, end_s if at_s is None else at_s, facts
        if at_s is None:
            return
        start_s = at_s
    call = turn.tool_call
    if call is None:
        return
    back_s = min(start_s + call.duration_s, end_s) if following is None else following.record.arrival_s
    name = "retained" if following is not None and _is_retained(turn, following) else "tool"
    yield name, start_s, back_s, {"turn": record.turn, "tool": call.tool, "result_tokens": call.result_tokens}


def _is_retained(turn: SeenTurn, following: SeenTurn) -> bool:
    """The last token of an output is never computed, so it is in no block."""
    computed = turn.record.prompt_tokens + turn.record.output_tokens - 1
    whole = computed // BLOCK_TOKENS * BLOCK_TOKENS
    return 0 < whole <= following.record.cached_tokens


def _slice(pid: int, tid: int, name: str, start_s: float, end_s: float, arguments: dict[str, object]) -> Event:
    # Both ends are rounded, not the duration, so that neighbours meet exactly.
    start, end = _microseconds(start_s), _microseconds(end_s)
    return {"ph": "X", "name": name, "pid": pid, "tid": tid, "ts": start, "dur": max(end - start, 0), "args": arguments}


def _counters(recording: Recording, pid: int) -> Iterator[Event]:
    """An event where a counter has changed."""
    last: dict[str, float] = {}
    for step in recording.steps():
        values = (step.token_budget, step.running, step.waiting, round(100 * step.kv_usage, 2))
        for name, value in zip(_COUNTERS, values, strict=True):
            if last.get(name) != value:
                last[name] = value
                ts = _microseconds(step.start_s)
                yield {"ph": "C", "name": name, "pid": pid, "tid": 0, "ts": ts, "args": {name: value}}


def _microseconds(time_s: float) -> int:
    return round(time_s * 1e6)
