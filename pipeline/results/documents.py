"""Markdown documents of an evaluation: all of its tables, and the headline."""

import pandas as pd

from .agent_tables import agent_cells, agent_headline
from .breakdown import by_kind, by_third
from .limits import LEAST_GAIN, LONGEST_WAIT, closed_limits, open_limits
from .metrics_file import EvaluationResults
from .tables import ablations, cells, headline, job_text, load_text, markdown, static_settings
from .tuning import Selection, tuning_table

CAPTION = "[low–high]: 95 % interval, by a bootstrap over sessions."
AGENTS = "A row is a number of agents that work at once: a closed loop."
STATIC = "Best static settings, searched on other sessions"
LIMITS = "Where AugServe does not help"
LIMITS_READ = (
    f"AugServe's ratio to the best rival, where it gains less than {LEAST_GAIN - 1:.0%} or waits more than "
    f"{LONGEST_WAIT:g} times as long. Other figures are blank."
)
LOADS = "Load 1× is the capacity@90 of stock vLLM: an open loop."


def evaluation_markdown(results: EvaluationResults) -> str:
    """Every table of every workload and profile, closed loops first."""
    parts = [f"{CAPTION}\n"]
    for job in results.agent_jobs:
        parts += [f"## Agents: {job_text(job)}\n", f"{AGENTS}\n", markdown(agent_cells(results, job))]
        tables = {
            "Session time, s, by thirds of the session length": by_third(results, job),
            STATIC: static_settings(results.agent_static.get(job[0], {}).get(job[1], {}), "steps/min"),
        }
        parts += [_titled(title, table) for title, table in tables.items() if len(table)]
    for job in results.jobs:
        load = load_text(job[0], results.main_load(job))
        tables = {
            "All policies": cells(results, job),
            f"Turns in the SLO by kind of session at load {load}": by_kind(results, job),
            f"Ablations at load {load}": ablations(results, job),
            STATIC: static_settings(results.static.get(job[0], {}).get(job[1], {}), "goodput by load"),
        }
        parts += [
            f"## {job_text(job)}\n",
            f"{LOADS}\n",
            *(_titled(title, table) for title, table in tables.items() if len(table)),
        ]
    return "\n".join(parts)


def headline_markdown(results: EvaluationResults, selection: Selection) -> str:
    """Closed loops, policies and ablations of open ones at the main load, where AugServe does not
    help, and the origin of the tuned settings."""
    parts = [f"{CAPTION}\n"]
    for job in results.agent_jobs:
        parts += [f"## Agents: {job_text(job)}\n", f"{AGENTS}\n", markdown(agent_headline(results, job))]
    for job in results.jobs:
        parts += [f"## {job_text(job)}, load {load_text(job[0], results.main_load(job))}\n", f"{LOADS}\n"]
        parts += [markdown(table) for table in (headline(results, job), ablations(results, job)) if len(table)]
    parts += [f"## {LIMITS}\n", f"{LIMITS_READ}\n", *_limits(results)]
    return "\n".join([*parts, "## Tuned settings\n", markdown(tuning_table(results, selection))])


def _limits(results: EvaluationResults) -> list[str]:
    tables = [(job, closed_limits(results, job)) for job in results.agent_jobs]
    tables += [(job, open_limits(results, job)) for job in results.jobs]
    return [_titled(job_text(job), table) for job, table in tables if len(table)]


def _titled(title: str, table: pd.DataFrame) -> str:
    return f"### {title}\n\n{markdown(table)}"
