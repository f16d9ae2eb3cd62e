"""The engine's pace: what a token of a fixed batch takes, measured before and after each load on the load's own server.

A machine that others share is now faster, now slower; without this the drift since the calibration would be taken for
the simulator's error. The batch belongs to no load, so that nothing is fitted to what is judged.
"""

from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.model import Session, Turn
from augserve.data.workload.schedule import Load
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.server.replay.report import Replayed
from augserve.pipeline.simulator.record.metrics import pace_metrics

SESSIONS = 32  # all begin at once, a turn each: about the decode batch of a load at capacity
PROMPT_TOKENS = 8  # so short that all prompts are computed within a step or two under any policy
OUTPUT_TOKENS = 160  # some ten seconds here; over four of them one batch differs from the next by 2 %
WITHIN_S = 1.0  # of this run's start all are sent


def pace_load(name: str) -> Load:
    """The fixed batch. Another `name` gives other tokens of the same number, of which nothing is cached."""
    turns = (Turn(PROMPT_TOKENS, OUTPUT_TOKENS, None),)
    ids = (f"pace-{name}-{number}" for number in range(SESSIONS))
    return Load(tuple(Session(one, "pace", 0.0, turns, max_tokens=OUTPUT_TOKENS) for one in ids), Adjustments())


def token_s(seen: Replayed) -> float:
    """Seconds between two tokens of a turn of the batch, in the median. Raises StageError where a turn failed."""
    finished = [turn for turn in seen.records() if turn.finish_s is not None]
    if len(finished) < SESSIONS:
        raise StageError(f"fidelity: {len(finished)} of {SESSIONS} turns that measure the pace succeeded; see logs/")
    return pace_metrics(finished)["tpot_p50_s"]
