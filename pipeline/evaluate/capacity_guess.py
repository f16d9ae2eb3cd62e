"""About where stock vLLM's capacity@90 lies, where nothing has been searched yet: other workloads and other engines.

Stock vLLM begins to miss the SLO when the contexts of the sessions under way, those in a tool call included, no longer
fit its KV cache: from there on it computes evicted contexts again. By Little's law that is at so many sessions a second
as the cache holds token·seconds, over those of a session.
"""

from collections.abc import Mapping, Sequence

from ...data.workload.mix import MIX, augmentation_sessions
from ...data.workload.model import Session
from ...data.workload.steady_state import NOMINAL_TOKEN_S
from ...data.workload.trace_set import Split
from ..simulator.cells.cell import TRACES, load_traces
from ..simulator.engine import context_tokens
from ..simulator.errors import SimulationError
from ..simulator.profile import StepProfile

MIX_SESSIONS = 500
Job = tuple[str, str]
"""Workload and profile."""


def capacity_guesses(
    jobs: Sequence[Job], engines: Mapping[str, StepProfile], split: Split | None, seed: int
) -> dict[Job, float]:
    """Sessions/s by workload and profile; raises SimulationError, TraceError or WorkloadError as a cell would."""
    found: dict[Job, float] = {}
    for workload, profile in jobs:
        engine = engines[profile]
        sessions = _sessions(workload, split, context_tokens(engine.limits), seed)
        found[workload, profile] = filling_rate_per_s(sessions, engine.limits.kv_tokens)
    return found


def filling_rate_per_s(sessions: Sequence[Sequence[Session]], kv_tokens: int) -> float:
    """Sessions/s, each given in its pieces, at which their contexts fill a KV cache of so many tokens."""
    held = sum(held_token_s(piece) for pieces in sessions for piece in pieces)
    return kv_tokens * len(sessions) / held


def held_token_s(session: Session) -> float:
    """Token·seconds of KV cache that a session's context takes, its pauses included, on an engine without load."""
    held, context = 0.0, 0
    for turn in session.turns:
        context += turn.new_tokens + turn.output_tokens
        pause_s = 0.0 if turn.tool_call is None else turn.tool_call.duration_s
        held += context * (turn.output_tokens * NOMINAL_TOKEN_S + pause_s)
    return held


def _sessions(workload: str, split: Split | None, longest_tokens: int, seed: int) -> list[tuple[Session, ...]]:
    if workload == MIX:
        return [(session,) for session in augmentation_sessions(MIX_SESSIONS, 1.0, seed)]
    if split is None:
        raise SimulationError(f"workload {workload!r}: which of its sessions may run is not said; give a split")
    return [session.pieces for session in load_traces(TRACES / workload, split, longest_tokens)]
