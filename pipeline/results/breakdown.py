"""Who gains: turns in the SLO by kind of session, and session times by thirds of the session length."""

import pandas as pd

from ..simulator.record.names import BY_KIND, THIRDS
from .columns import value_text
from .metrics_file import OURS, EvaluationResults, Job, is_rival
from .tables import order_of, title_of


def by_kind(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """Share of turns in the SLO at the main load: a row a policy, a column a kind. Empty with one kind only."""
    cells = results.at_main_load(job)
    kinds = sorted({metric for cell in cells.values() for metric in cell if _is_kind(metric)})
    return pd.DataFrame(
        {"policy": title_of(policy)}
        | {kind.removeprefix(BY_KIND): value_text(cells[policy], kind, ".1%") for kind in kinds}
        for policy in sorted(cells, key=order_of)
        if kinds and (policy == OURS or is_rival(policy))
    )


def by_third(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """Mean session time in s: a row a number of agents and policy, a column a third of the session length."""
    return pd.DataFrame(
        {"agents": agents, "policy": title_of(policy)}
        | {third: value_text(cells[policy], f"session_time_{third}_mean_s", ".0f") for third in THIRDS}
        for agents, cells in results.by_agents(job).items()
        for policy in sorted(cells, key=order_of)
    )


def _is_kind(metric: str) -> bool:
    return metric.startswith(BY_KIND) and not metric.endswith(("_low", "_high"))
