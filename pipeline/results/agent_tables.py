"""Tables of closed loops: a row a number of agents and policy."""

from collections.abc import Callable, Iterable

import pandas as pd

from .columns import AGENT_COLUMNS, STEPS, value_text
from .metrics_file import OURS, EvaluationResults, Job
from .tables import OVER_IT, order_of, over_it, title_of

HEADLINE = (STEPS, "attainment", "session_time_mean_s", "prefix_hit_rate", "recompute_share")


def agent_cells(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """Every metric of AGENT_COLUMNS."""
    return _table(results, job, AGENT_COLUMNS, str)


def agent_headline(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """The main metrics."""
    return _table(results, job, HEADLINE, title_of)


def _table(results: EvaluationResults, job: Job, metrics: Iterable[str], named: Callable[[str], str]) -> pd.DataFrame:
    columns = [(metric, *AGENT_COLUMNS[metric]) for metric in metrics]
    return pd.DataFrame(
        {"agents": agents, "policy": named(policy)}
        | {title: value_text(by_policy[policy], metric, form) for metric, title, form in columns}
        | {OVER_IT: over_it(by_policy.get(OURS, {}), "steps_over", policy)}
        for agents, by_policy in results.by_agents(job).items()
        for policy in sorted(by_policy, key=order_of)
    )
