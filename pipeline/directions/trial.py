"""A run of which published directions are tried: sessions served to their end, measured as the papers do."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ...data.workload.mix import augmentation_sessions
from ...data.workload.model import Session
from ...models.serving.settings import SchedulerSettings
from ..evaluate.capacity_guess import filling_rate_per_s
from ..evaluate.comparison import MODELS
from ..simulator.cells.cell import load_predictor, load_profile
from ..simulator.clock import VirtualClock
from ..simulator.engine import build_scheduler
from ..simulator.loop import Simulation
from ..simulator.policies import PREDICTING, Bench, build_policy
from ..simulator.profile import StepProfile
from ..simulator.record.records import SimulationResult

UNCACHED = "vllm-no-prefix-cache"
"""Stock vLLM as the papers met it: what a call ended is computed again."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run; picklable, so that it may be another process's."""

    policy: str
    profile: Path
    kv_tokens: int
    load: float  # multiple of the rate at which the sessions' contexts fill the KV cache
    sessions: int
    seed: int


def run_trial(trial: Trial) -> dict[str, float]:
    """`session_metrics` of one run. Raises as `simulator.cell.run_cell` does."""
    profile = with_kv_tokens(load_profile(trial.profile), trial.kv_tokens)
    sessions = sessions_of(trial)
    clock = VirtualClock()
    if trial.policy == UNCACHED:
        scheduler = build_scheduler(AsyncScheduler, profile.limits, prefix_caching=False)
    else:
        predictor = load_predictor(MODELS) if trial.policy in PREDICTING else None
        settings = SchedulerSettings(step_time=profile.linear, profile=profile.name)
        scheduler = build_policy(trial.policy, Bench(profile.limits, settings, predictor, sessions, clock))
    try:
        return session_metrics(sessions, Simulation(scheduler, profile, clock, sessions).run())
    finally:
        scheduler.shutdown()


def sessions_of(trial: Trial) -> tuple[Session, ...]:
    """The same sessions at every load and under every policy; only their arrivals are stretched."""
    at_one = augmentation_sessions(trial.sessions, 1.0, trial.seed)
    rate_per_s = trial.load * filling_rate_per_s([(session,) for session in at_one], trial.kv_tokens)
    return augmentation_sessions(trial.sessions, rate_per_s, trial.seed)


def with_kv_tokens(profile: StepProfile, kv_tokens: int) -> StepProfile:
    """The engine with so small a KV cache, and no longer requests than it holds."""
    longest = min(profile.limits.max_model_len, kv_tokens)
    limits = dataclasses.replace(profile.limits, kv_tokens=kv_tokens, max_model_len=longest)
    return dataclasses.replace(profile, limits=limits)


def session_metrics(sessions: Sequence[Session], result: SimulationResult) -> dict[str, float]:
    """Over all sessions of a run to its end.

    Latency from a session's arrival to its last token, less its calls' own time, in all and by output token (normalized
    latency); sessions finished a second until the last one arrives (the papers' throughput: what comes later is the
    longest sessions' tail); the share of prompt tokens that the cache held; preemptions.
    """
    finishes = {turn.session_id: turn.finish_s or result.end_s for turn in result.turns}  # the last turn's stays
    latency_s, normalized_s = [], []
    for session in sessions:
        calls_s = sum(turn.tool_call.duration_s for turn in session.turns if turn.tool_call is not None)
        latency_s.append(finishes[session.session_id] - session.arrival_s - calls_s)
        normalized_s.append(latency_s[-1] / sum(turn.output_tokens for turn in session.turns))
    arrivals_s = [session.arrival_s for session in sessions]
    finished = sum(finish_s <= max(arrivals_s) for finish_s in finishes.values())
    prompt_tokens = sum(turn.prompt_tokens for turn in result.turns)
    return {
        "normalized_latency_mean_s": float(np.mean(normalized_s)),
        "normalized_latency_p50_s": float(np.median(normalized_s)),
        "latency_mean_s": float(np.mean(latency_s)),
        "sessions_per_s": finished / (max(arrivals_s) - min(arrivals_s)),
        "prefix_hit_rate": sum(turn.cached_tokens for turn in result.turns) / prompt_tokens,
        "preemptions": float(sum(turn.preemptions for turn in result.turns)),
    }
