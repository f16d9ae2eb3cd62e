"""The metrics of a run, over the turns that arrive in a window.

A turn that is unfinished at the end of the simulation misses the SLO. A session counts in the window in which its last
turn finishes, and meets the SLO if all its turns do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....models.serving.settings import Slo
from ..errors import SimulationError
from .records import SimulationResult, TurnRecord


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_s` to before `end_s`, virtual seconds."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.end_s) and 0 <= self.start_s < self.end_s):
            raise SimulationError(f"window: {self.start_s} to {self.end_s} s is empty; the end must follow the start")

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    def holds(self, time_s: float) -> bool:
        return self.start_s <= time_s < self.end_s


def meets_slo(turn: TurnRecord, slo: Slo) -> bool:
    """TTFT and TPOT within the SLO; a turn of one token has no TPOT."""
    if turn.first_token_s is None or turn.finish_s is None:
        return False
    if turn.first_token_s - turn.arrival_s > slo.ttft_s:
        return False
    if turn.output_tokens < 2:
        return True
    return (turn.finish_s - turn.first_token_s) / (turn.output_tokens - 1) <= slo.tpot_s


def run_metrics(result: SimulationResult, window: Window, slo: Slo) -> dict[str, float]:
    """Metrics over the turns that arrive in the window, rates per second. Raises SimulationError if there are none.

    A turn without a first token counts with its wait until the end of the simulation, a lower bound of its TTFT.
    Otherwise starving turns would improve the statistics.
    """
    turns = [turn for turn in result.turns if window.holds(turn.arrival_s)]
    if not turns:
        raise SimulationError(f"window: no turn arrived from {window.start_s} to {window.end_s} s; lengthen it")
    met = sum(meets_slo(turn, slo) for turn in turns)
    waits = np.array([wait_s(turn, result.end_s) for turn in turns])
    return {
        "effective_throughput": met / window.length_s,
        "session_effective_throughput": sum(ended_sessions(result, window, slo).values()) / window.length_s,
        "throughput": _finished(result.turns, window) / window.length_s,
        "attainment": met / len(turns),
        "ttft_mean_s": float(waits.mean()),
        "ttft_p50_s": float(np.percentile(waits, 50)),
        "ttft_p99_s": float(np.percentile(waits, 99)),
        "longest_wait_s": float(waits.max()),
        "preemptions": float(sum(turn.preemptions for turn in turns)),
        "prefix_hit_rate": _hit_rate(turns),
        "turns": float(len(turns)),
        "unfinished": float(sum(turn.finish_s is None for turn in turns)),
    }


def pace_metrics(turns: Sequence[TurnRecord]) -> dict[str, float]:
    """TPOT (from two tokens on) and normalized latency of finished turns, seconds a token; without values, no key."""
    tpot: list[float] = []
    normalized: list[float] = []
    for turn in turns:
        if turn.finish_s is None or turn.first_token_s is None or not turn.output_tokens:
            continue
        normalized.append((turn.finish_s - turn.arrival_s) / turn.output_tokens)
        if turn.output_tokens > 1:
            tpot.append((turn.finish_s - turn.first_token_s) / (turn.output_tokens - 1))
    return {**_statistics("tpot", tpot), **_statistics("normalized_latency", normalized)}


def _statistics(name: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p99 = np.percentile(values, (50, 99))
    return {f"{name}_mean_s": float(np.mean(values)), f"{name}_p50_s": float(p50), f"{name}_p99_s": float(p99)}


def wait_s(turn: TurnRecord, end_s: float) -> float:
    """TTFT; without a first token, the wait until the end of the simulation."""
    return (end_s if turn.first_token_s is None else turn.first_token_s) - turn.arrival_s


def _finished(turns: Sequence[TurnRecord], window: Window) -> int:
    return sum(turn.finish_s is not None and window.holds(turn.finish_s) for turn in turns)


def _hit_rate(turns: Sequence[TurnRecord]) -> float:
    """Share of cached prompt tokens, over the turns with a first token."""
    started = [turn for turn in turns if turn.first_token_s is not None]
    tokens = sum(turn.prompt_tokens for turn in started)
    return sum(turn.cached_tokens for turn in started) / tokens if tokens else 0.0


def ended_sessions(result: SimulationResult, window: Window, slo: Slo) -> dict[str, bool]:
    """The sessions whose last turn finished in the window, and whether all their turns met the SLO.

    Sessions are longer than the window: counting them by arrival would count only the short ones.
    """
    met: dict[str, bool] = {}
    ended: list[str] = []
    for turn in result.turns:
        met[turn.session_id] = met.get(turn.session_id, True) and meets_slo(turn, slo)
        if turn.last and turn.finish_s is not None and window.holds(turn.finish_s):
            ended.append(turn.session_id)
    return {session_id: met[session_id] for session_id in ended}
