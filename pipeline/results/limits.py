"""Where AugServe does not help: the figures in which it does not surpass the best rival at the same load."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from .columns import GOODPUT, SESSION_GOODPUT, STEPS
from .metrics_file import OURS, EvaluationResults, Job, Metrics, is_rival, ratio
from .tables import load_text, title_of

LEAST_GAIN = 1.02
"""A smaller gain is none. As a ratio, turned so that more is better."""
LONGEST_WAIT = 1.5
"""A wait beyond this multiple of the rival's is named."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric that is compared; it is named where AugServe's ratio to the rival is on the wrong side of `limit`."""

    metric: str
    title: str
    limit: float
    more_is_better: bool = True

    def told(self, share: float) -> bool:
        return share < self.limit if self.more_is_better else share > self.limit


WAITS = (
    Figure("ttft_p99_s", "TTFT p99", LONGEST_WAIT, more_is_better=False),
    Figure("longest_wait_s", "longest wait", LONGEST_WAIT, more_is_better=False),
)
OPEN = (Figure(GOODPUT, "goodput", LEAST_GAIN), Figure(SESSION_GOODPUT, "session goodput", LEAST_GAIN), *WAITS)
CLOSED = (
    Figure(STEPS, "steps/min", LEAST_GAIN),
    Figure("attainment", "in SLO", LEAST_GAIN),
    Figure("sessions_per_hour", "sessions/h", LEAST_GAIN),
    Figure("session_time_mean_s", "session time", 1 / LEAST_GAIN, more_is_better=False),
    *WAITS,
)


def closed_limits(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """One row a number of agents; see `_table`."""
    return _table("agents", {str(agents): cells for agents, cells in results.by_agents(job).items()}, CLOSED)


def open_limits(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """One row a load; see `_table`."""
    return _table("load", {load_text(job[0], load): cells for load, cells in results.by_load(job).items()}, OPEN)


def _table(title: str, by_load: Mapping[str, Mapping[str, Metrics]], figures: tuple[Figure, ...]) -> pd.DataFrame:
    """AugServe's ratios to the rival that is best in the first of the figures. A figure within its limit is blank, and
    a load without any other is absent."""
    rows = []
    for load, cells in by_load.items():
        rivals = [policy for policy in cells if is_rival(policy)]
        if OURS not in cells or not rivals:
            continue
        best = max(rivals, key=lambda policy: cells[policy][figures[0].metric])
        told = {figure.title: _told(figure, cells[OURS], cells[best]) for figure in figures}
        if any(told.values()):
            rows.append({title: load, "best rival": title_of(best)} | told)
    return pd.DataFrame(rows)


def _told(figure: Figure, ours: Metrics, rival: Metrics) -> str:
    if figure.metric not in ours or figure.metric not in rival:
        return ""
    share = ratio(ours[figure.metric], rival[figure.metric])
    return f"{share:.2f}×" if share is not None and figure.told(share) else ""
