"""The pace of the engine: seconds a token of a fixed batch, measured before and after each load on the same server.

A shared machine changes its speed. Without the pace, this drift since the calibration would count as an error of the
simulator. The batch belongs to no load, so the comparison fits nothing to its own data.
"""

from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.model import Session, Turn
from augserve.data.workload.schedule import Load
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.server.replay.report import Replayed
from augserve.pipeline.simulator.record.metrics import pace_metrics

SESSIONS = 32  # at most, with one turn each, all at once: about the decode batch at capacity
PROMPT_TOKENS = 8  # any policy computes all prompts in a step or two
OUTPUT_TOKENS = 160  # about ten seconds, in which batches differ by 2 %
WITHIN_S = 1.0  # after the start, all are sent


def batch_size(kv_tokens: int) -> int:
    """Sessions that a KV cache of this size holds twice."""
    return max(min(SESSIONS, kv_tokens // (2 * (PROMPT_TOKENS + OUTPUT_TOKENS))), 1)


def pace_load(name: str, sessions: int = SESSIONS) -> Load:
    """The fixed batch. Another `name` yields as many other tokens, none of them cached."""
    turns = (Turn(PROMPT_TOKENS, OUTPUT_TOKENS),)
    session_ids = (f"pace-{name}-{number}" for number in range(sessions))
    return Load(
        tuple(Session(session_id, "pace", 0.0, turns, max_tokens=OUTPUT_TOKENS) for session_id in session_ids),
        Adjustments(),
    )


def token_s(seen: Replayed, sessions: int = SESSIONS) -> float:
    """Median seconds a token of the batch. Raises StageError if a turn failed."""
    finished = [turn for turn in seen.records() if turn.finish_s is not None]
    if len(finished) < sessions:
        raise StageError(f"fidelity: {len(finished)} of {sessions} turns that measure the pace succeeded; see logs/")
    return pace_metrics(finished)["tpot_p50_s"]
