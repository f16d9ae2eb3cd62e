"""A run as a Chrome trace: JSON that ui.perfetto.dev and chrome://tracing show.

Each policy is a process and each session a track, with four slices a turn that never overlap: waiting (until the first
tokens are scheduled), prefill (until the first output token), decode (until the last one) and tool (until the next
arrival). The last slice is named `retained` if the next turn hit the cache for all full blocks of the context. Counters
show the token budget, running and waiting requests, and KV usage of each step.
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....data.atomic import atomic_file
from ..errors import SimulationError
from ..observers.recording import Recording, SeenTurn

Event = dict[str, object]
_COUNTERS = ("token budget", "running", "waiting", "KV usage %")


@dataclass(frozen=True, slots=True)
class PolicyRun:
    policy: str
    recording: Recording
    end_s: float  # virtual time at the end of the simulation
    block_tokens: int


def write_timeline(path: Path, runs: Sequence[PolicyRun]) -> None:
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


def events(run: PolicyRun, pid: int) -> Iterator[Event]:
    """The trace events of one run; `ts` and `dur` are microseconds."""
    yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "ts": 0, "args": {"name": run.policy}}
    sessions: dict[str, list[SeenTurn]] = {}
    for turn in run.recording.turns:
        sessions.setdefault(turn.record.session_id, []).append(turn)
    for tid, (session_id, turns) in enumerate(sessions.items(), 1):
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "ts": 0, "args": {"name": session_id}}
        for index, turn in enumerate(turns):
            following = turns[index + 1] if index + 1 < len(turns) else None
            for name, start_s, end_s, arguments in _slices(turn, following, run):
                yield _slice(pid, tid, name, start_s, end_s, arguments)
    yield from _counters(run.recording, pid)


def _slices(
    turn: SeenTurn, following: SeenTurn | None, run: PolicyRun
) -> Iterator[tuple[str, float, float, dict[str, object]]]:
    """(name, start, end, arguments) of the turn and of the pause after it, cut at the end of the run."""
    record, end_s = turn.record, run.end_s
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
    if not turn.calls:
        return
    back_s = end_s  # the calls have not returned
    if following is not None:
        back_s = following.record.arrival_s
    elif all(call.agent is None for call in turn.calls):
        back_s = min(start_s + max(call.duration_s for call in turn.calls), end_s)
    name = "retained" if following is not None and _is_retained(turn, following, run.block_tokens) else "tool"
    tools, tokens = ", ".join(call.tool for call in turn.calls), sum(call.result_tokens for call in turn.calls)
    yield name, start_s, back_s, {"turn": record.turn, "tool": tools, "result_tokens": tokens}


def _is_retained(turn: SeenTurn, following: SeenTurn, block_tokens: int) -> bool:
    """Whether the next turn hit the cache for all full blocks. The last output token is never computed."""
    computed = turn.record.prompt_tokens + turn.record.output_tokens - 1
    whole = computed // block_tokens * block_tokens
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
