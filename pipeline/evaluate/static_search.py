"""The best static setting of each policy that is to run at its best.

A fair comparison gives each rival the setting that an operator would find, on sessions that the report does not see.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from ..results.metrics_file import Capacities, Job, Tried
from ..simulator.catalogue import CATALOGUE, TUNED
from ..simulator.cells.cache import Submit
from ..simulator.cells.cell import Cell
from .evaluation import Evaluation
from .params import steady
from .static_grid import Scores, StaticGrid, search

Key = TypeVar("Key", bound=Hashable)


def search_static(evaluation: Evaluation, capacity90: Capacities, submit: Submit) -> Evaluation:
    """Search on the sessions of tuning. A swing has the settings of the steady mix."""
    params, tuning = evaluation.params, evaluation.on("tune")
    scores: dict[Job, Scores] = {}
    names: dict[Job, list[str]] = {}
    for job in evaluation.jobs:
        searched = steady(job[0]), job[1]
        scores[searched] = _goodputs(tuning, searched, capacity90[job[0]][job[1]]["vllm"] or 0.0, submit)
        names.setdefault(searched, []).extend(params.policies_of(job[0]))
    found = search_all(params.static, scores, names)
    closed = {job: steps_per_minute(partial(tuning.static_agent_cell, job), submit) for job in evaluation.agent_jobs}
    return dataclasses.replace(
        evaluation,
        static={job: found[steady(job[0]), job[1]] for job in evaluation.jobs},
        agent_static=search_all(params.static, closed, dict.fromkeys(closed, params.agent_policies)),
    )


def search_all(
    grid: StaticGrid, scores: Mapping[Key, Scores], policies: Mapping[Key, Sequence[str]]
) -> dict[Key, dict[str, Tried]]:
    """For each key, what was tried for each policy of TUNED among its `policies`. All searches run side by side."""
    tasks = [(key, name) for key in scores for name in dict.fromkeys(policies[key]) if name in TUNED]

    def tried(task: tuple[Key, str]) -> Tried:
        key, name = task
        return search(CATALOGUE[TUNED[name].tunes], grid, scores[key])

    found: dict[Key, dict[str, Tried]] = {key: {} for key in scores}
    with ThreadPoolExecutor(max(len(tasks), 1)) as threads:  # they only wait for the processes
        for (key, name), result in zip(tasks, threads.map(tried, tasks), strict=True):
            found[key][name] = result
    return found


def steps_per_minute(cell: Callable[[str], Cell], submit: Submit) -> Scores:
    """The scores of a closed loop; `cell` makes the run of a policy."""

    def scores(names: Sequence[str]) -> list[float]:
        futures = [submit(cell(name)) for name in names]
        return [future.result().metrics["steps_per_minute"] for future in futures]

    return scores


def _goodputs(tuning: Evaluation, job: Job, unit_per_s: float, submit: Submit) -> Scores:
    """Goodput divided by the load, the mean over `static_loads`.

    At 2x stock vLLM is late with every setting, so that load distinguishes none.
    """
    loads = tuning.params.static_loads

    def scores(names: Sequence[str]) -> list[float]:
        futures = [[submit(tuning.cell(job, name, load * unit_per_s)) for load in loads] for name in names]
        return [
            sum(f.result().metrics["effective_throughput"] / load for f, load in zip(own, loads, strict=True))
            / len(loads)
            for own in futures
        ]

    return scores
