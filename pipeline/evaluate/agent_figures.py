"""Figures of closed loops: the curves over the number of agents, and throughput against interactivity."""

from pathlib import Path
from typing import Any

import pandas as pd

from ..results.columns import AGENT_COLUMNS, STEPS
from ..results.metrics_file import EvaluationResults, Job
from ..results.tables import order_of, write_csv
from .figures import line_of, panels

INTERACTIVITY = "interactivity_p90"
KEYS = ("workload", "profile", "policy", "agents")


def write_agent_figures(folder: Path, results: EvaluationResults) -> None:
    """Write agents and pareto, each as SVG and CSV."""
    rows = agent_rows(results)
    write_csv(folder / "agents.csv", rows)
    write_csv(folder / "pareto.csv", rows[[*KEYS, INTERACTIVITY, STEPS]])
    draws = (_curve(rows, STEPS, "steps per minute"), _curve(rows, "attainment", "share of turns in the SLO"))
    panels(folder / "agents.svg", results.agent_jobs, *draws)
    panels(folder / "pareto.svg", results.agent_jobs, _pareto(rows))


def agent_rows(results: EvaluationResults) -> pd.DataFrame:
    """One row a cell, with every metric of AGENT_COLUMNS and the interval of the steps per minute."""
    rows = [
        {**dict(zip(KEYS, (*job, policy, agents), strict=True)), **by_policy[policy]}
        for job in results.agent_jobs
        for agents, by_policy in results.by_agents(job).items()
        for policy in sorted(by_policy, key=order_of)
    ]
    return pd.DataFrame(rows, columns=[*KEYS, *AGENT_COLUMNS, f"{STEPS}_low", f"{STEPS}_high"])


def _curve(rows: pd.DataFrame, metric: str, label: str) -> Any:
    def draw(axis: Any, job: Job) -> None:
        for policy, own in _by_policy(rows, job):
            axis.plot(own["agents"], own[metric], marker="o", markersize=3, **line_of(policy))
            if metric == STEPS and own[f"{STEPS}_low"].notna().all():
                bounds = (own[f"{STEPS}_{side}"] for side in ("low", "high"))
                axis.fill_between(own["agents"], *bounds, color=line_of(policy)["color"], alpha=0.15, linewidth=0)
        axis.set(xlabel="agents at once", ylabel=label, ylim=(0, None))

    return draw


def _pareto(rows: pd.DataFrame) -> Any:
    """One point a number of agents, named by it. Further up and to the right is better."""

    def draw(axis: Any, job: Job) -> None:
        for policy, own in _by_policy(rows, job):
            axis.plot(own[INTERACTIVITY], own[STEPS], marker="o", markersize=3, **line_of(policy))
            for agents, tokens_s, steps in zip(own["agents"], own[INTERACTIVITY], own[STEPS], strict=True):
                if pd.notna(tokens_s):
                    axis.annotate(str(agents), (tokens_s, steps), xytext=(3, 3), textcoords="offset points", fontsize=6)
        axis.set(xlabel="interactivity p90, output tokens/s", ylabel="steps per minute", xlim=(0, None), ylim=(0, None))

    return draw


def _by_policy(rows: pd.DataFrame, job: Job) -> list[tuple[str, pd.DataFrame]]:
    own = rows[(rows["workload"] == job[0]) & (rows["profile"] == job[1])]
    return [(str(policy), group) for policy, group in own.groupby("policy", sort=False)]
