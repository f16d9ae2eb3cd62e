"""The recorded engine: the profile nearest to its step times, fitted to them, and its limits as far as steps tell."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...data.tables.sessions import RecordedTurn
from ..project.stage import StageError
from ..simulator.profile import EngineLimits, StepProfile
from .recorded import Fitted, fitted
from .steps import LEAST_STEPS, RecordedSteps

LEAST_USAGE = 0.02
"""Share of the KV cache in use from which its size is estimated."""
EQUAL = 0.01
"""Difference of two median errors that tells nothing: profiles that were fitted to one engine differ by less."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A profile that stands for the recorded engine."""

    profile: StepProfile
    factor: float  # recorded engine time over that of the profile as it was
    median_error: float  # of a step's time, relative
    steps: int  # that its times are fitted to
    scheduled_ahead: bool  # most steps are scheduled before the one before has ended


def nearest_engine(
    steps: RecordedSteps, profiles: Sequence[StepProfile], longest_tokens: int, believed: str | None = None
) -> Engine:
    """Of the profiles, each fitted to the recorded steps, the one with the least median error.

    `longest_tokens`: of one request, which the engine's limits must admit. `believed`: name of the profile to take
    where none is nearer by more than EQUAL. Raises StageError without a profile, and for too few steps.
    """
    if not profiles:
        raise StageError("no profile of an engine: give --profile, or run in a clone")
    known = steps.known()
    if len(known.seconds) < LEAST_STEPS:
        raise StageError(f"{len(known.seconds)} steps in a row are too few to know the engine; record under load")

    def error(found: Fitted) -> float:
        return found.median_error - EQUAL * (found.profile.name == believed)

    best = min((fitted(profile, known) for profile in profiles), key=error)
    limits = _limits(steps, best.profile.limits, longest_tokens)
    profile = _with_limits(best.profile, limits)
    return Engine(profile, best.factor, best.median_error, len(known.seconds), steps.are_scheduled_ahead)


def longest_request_tokens(sessions: Iterable[tuple[RecordedTurn, ...]]) -> int:
    """Tokens that a request may take at most: a session's longest prompt and its longest output together."""
    return max(
        max(turn.prompt_tokens for turn in turns) + max(turn.output_tokens for turn in turns) for turns in sessions
    )


def _with_limits(profile: StepProfile, limits: EngineLimits) -> StepProfile:
    """The profile with these limits; its table goes on to their token budget."""
    tokens, table_s = profile.tokens, profile.table_s
    if tokens[-1] < limits.max_num_batched_tokens:
        slope = (table_s[-1] - table_s[-2]) / (tokens[-1] - tokens[-2])
        table_s = (*table_s, table_s[-1] + slope * (limits.max_num_batched_tokens - tokens[-1]))
        tokens = (*tokens, limits.max_num_batched_tokens)
    return dataclasses.replace(profile, limits=limits, tokens=tokens, table_s=table_s)


def _limits(steps: RecordedSteps, usual: EngineLimits, longest_tokens: int) -> EngineLimits:
    """What the steps tell of the engine's limits, and the profile's for the rest."""
    columns = steps.columns
    used = columns["kv_usage"] > LEAST_USAGE
    kv_tokens = usual.kv_tokens
    if used.sum() >= LEAST_STEPS:
        kv_tokens = round(float(np.median(columns["context_tokens"][used] / columns["kv_usage"][used])))
    crowded = columns["running"][columns["waiting"] > 0]
    most = int(columns["running"].max())
    sequences = most if crowded.size and np.median(crowded) >= 0.9 * most else max(usual.max_num_seqs, most)
    blocks = math.ceil(max(kv_tokens, longest_tokens + 2 * usual.block_tokens) / usual.block_tokens)
    kv_tokens = blocks * usual.block_tokens
    return dataclasses.replace(
        usual,
        kv_tokens=kv_tokens,
        max_model_len=min(max(usual.max_model_len, longest_tokens), kv_tokens),
        max_num_batched_tokens=max(steps.budget, sequences),
        max_num_seqs=sequences,
    )
