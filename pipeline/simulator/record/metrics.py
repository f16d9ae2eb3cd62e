"""The metrics of a run. A turn belongs to the window in which it arrives, a session to that in which it ends.

A turn that is unfinished at the end of the run misses the SLO. A session meets it if all turns of its tree do. A turn
without a first token counts with its wait until the end of the run, a lower bound of its TTFT. Otherwise starving turns
would improve the statistics.
"""

import math
from collections.abc import Sequence

import numpy as np

from ....models.serving.settings import Slo
from ..errors import SimulationError
from .estimates import estimates, unit_weights
from .records import SimulationResult, TurnRecord
from .samples import Samples, samples_of
from .turns import tpot_s
from .window import Window


def run_metrics(result: SimulationResult, window: Window, slo: Slo) -> dict[str, float]:
    """The metrics of a run of which only the turns are known. Raises SimulationError if none arrives in the window."""
    return metrics_of([samples_of(result, window, slo)])


def metrics_of(runs: Sequence[Samples]) -> dict[str, float]:
    """The metrics of all runs together, docs/results/metrics.md: rates are means of the runs, waits are over all turns.

    A metric without a turn or session is absent. Raises SimulationError for a run in whose window no turn arrived.
    """
    for run in runs:
        if not run.ttft_s:
            raise SimulationError(f"window: no turn arrived in its {run.window_s:g} s; lengthen it")
    found = {metric: float(values[0]) for metric, values in estimates(runs, unit_weights(runs)).items()}
    first_s = [wait_s for run in runs for wait_s, first in zip(run.ttft_s, run.first, strict=True) if first]
    if first_s:
        found["longest_first_wait_s"] = max(first_s)
    return {metric: value for metric, value in found.items() if not math.isnan(value)} | {
        "longest_wait_s": max(max(run.ttft_s) for run in runs),
        "preemptions": float(np.mean([run.preemptions for run in runs])),
        "turns": float(sum(len(run.ttft_s) for run in runs)),
        "unfinished": float(sum(run.unfinished for run in runs)),
    }


def pace_metrics(turns: Sequence[TurnRecord]) -> dict[str, float]:
    """TPOT (from two tokens on) and normalized latency of finished turns, seconds a token; without values, no key."""
    tpot = [pace_s for turn in turns if (pace_s := tpot_s(turn)) is not None]
    normalized = [
        (turn.finish_s - turn.arrival_s) / turn.output_tokens
        for turn in turns
        if turn.finish_s is not None and turn.first_token_s is not None and turn.output_tokens
    ]
    return {**_statistics("tpot", tpot), **_statistics("normalized_latency", normalized)}


def _statistics(name: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p99 = np.percentile(values, (50, 99))
    return {f"{name}_mean_s": float(np.mean(values)), f"{name}_p50_s": float(p50), f"{name}_p99_s": float(p99)}
