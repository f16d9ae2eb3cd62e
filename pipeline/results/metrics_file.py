"""The file metrics.json of an evaluation: its form, writing and reading."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...data.atomic import write_json
from ..simulator import catalogue

FORMAT = 4
"""Raised when a reader of the older form would misread the newer one. Format 4 has the settings of every policy."""
OURS = catalogue.AUGSERVE.name
UNTUNED = catalogue.UNTUNED.name
BASES = (catalogue.VLLM.name,)
"""Every policy is compared with these, paired over the same sessions. AugServe is compared with every policy."""
NOT_WORKLOADS = ("format", "capacity90", "misses90", "order", "summary", "static", "agent_static")

Metrics = dict[str, float]
Cells = dict[str, dict[str, dict[str, dict[str, Metrics]]]]
"""workload → profile → load → policy → metric. `x_low` and `x_high` bound the 95 % interval of metric `x`.

A load is `2x`, a multiple of stock vLLM's capacity@90, in an open loop, and `16`, a number of agents, in a closed one.
"""
Capacities = dict[str, dict[str, dict[str, float | None]]]
"""workload → profile → policy → sessions/s. None: no rate that was tried qualifies."""
Tried = Mapping[str, float]
"""Name of a policy with a static setting → its score, in the order in which they were tried, vLLM's default first."""
Job = tuple[str, str]
"""Workload and profile."""
_LOAD = re.compile(r"\d+(\.\d+)?(e[+-]\d+)?x|\d+")


class ResultsError(ValueError):
    """A file of results cannot be read; the message names the file, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class EvaluationResults:
    """The content of metrics.json."""

    cells: Cells
    capacity90: Capacities  # the highest rate with 90 % SLO attainment; that of stock vLLM is load 1x
    static: Mapping[str, Mapping[str, Mapping[str, Tried]]]  # workload → profile → policy at its best, open loops
    agent_static: Mapping[str, Mapping[str, Mapping[str, Tried]]] = field(default_factory=dict)  # of closed loops
    misses90: Capacities = field(default_factory=dict)  # the lowest rate above a capacity that missed 90 %

    @property
    def jobs(self) -> list[Job]:
        """Those with an open loop."""
        return [job for job in self._all_jobs() if self.by_load(job)]

    @property
    def agent_jobs(self) -> list[Job]:
        """Those with a closed loop."""
        return [job for job in self._all_jobs() if self.by_agents(job)]

    def by_load(self, job: Job) -> dict[float, dict[str, Metrics]]:
        """Open loop: multiple of the capacity → policy → metrics, in the order of the loads."""
        found = {float(load[:-1]): of for load, of in self.cells[job[0]][job[1]].items() if not is_closed(load)}
        return dict(sorted(found.items()))

    def by_agents(self, job: Job) -> dict[int, dict[str, Metrics]]:
        """Closed loop: agents → policy → metrics, in the order of the numbers."""
        return dict(sorted((int(load), of) for load, of in self.cells[job[0]][job[1]].items() if is_closed(load)))

    def main_load(self, job: Job) -> float:
        """The open loop's load at which most policies ran; of several such loads the highest."""
        by_load = self.by_load(job)
        return max(by_load, key=lambda load: (len(by_load[load]), load))

    def at_main_load(self, job: Job) -> dict[str, Metrics]:
        return self.by_load(job)[self.main_load(job)]

    def _all_jobs(self) -> list[Job]:
        return [(workload, profile) for workload, by_profile in self.cells.items() for profile in by_profile]


def open_loop(load: float) -> str:
    """The name of a multiple of stock vLLM's capacity@90."""
    return f"{load:g}x"


def closed_loop(agents: int) -> str:
    """The name of a number of agents."""
    return str(agents)


def is_closed(load: str) -> bool:
    """Raises ValueError for no name of a load."""
    if not _LOAD.fullmatch(load):
        raise ValueError(f"{load!r} is no load")
    return not load.endswith("x")


def write_results(path: Path, results: EvaluationResults) -> None:
    document = {
        "format": FORMAT,
        "capacity90": results.capacity90,
        "misses90": results.misses90,
        "order": list(results.cells),
        "static": results.static,
        "agent_static": results.agent_static,
        "summary": summarize(results),
    }
    write_json(path, {**results.cells, **document})


def read_results(path: Path) -> EvaluationResults:
    """Workloads are in the order in which they ran: a deployment's own come first.

    Raises ResultsError for a file that is missing, incomplete or of another format.
    """
    remedy = f"run `{'make compare' if path.parent.name == 'compare' else 'dvc repro evaluate'}`"
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}; {remedy}") from error
    except ValueError as error:
        raise ResultsError(f"{path}: not JSON ({error}); {remedy}") from error
    found = value.get("format", 1) if isinstance(value, dict) else None
    if found != FORMAT:
        raise ResultsError(f"{path}: has format {found}, format {FORMAT} is required; {remedy}")
    try:
        names = dict.fromkeys((*value.get("order", ()), *value))
        cells = {name: value[name] for name in names if name not in NOT_WORKLOADS}
        _check(cells)
        return EvaluationResults(cells, value["capacity90"], value["static"], value["agent_static"], value["misses90"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(f"{path}: incomplete ({type(error).__name__}: {error}); {remedy}") from error


def _check(cells: Cells) -> None:
    if not cells:
        raise ValueError("no workload")
    for by_profile in cells.values():
        for by_load in by_profile.values():
            for load, by_policy in by_load.items():
                is_closed(load)
                for metrics in by_policy.values():
                    float(metrics["effective_throughput"])


def summarize(results: EvaluationResults) -> dict[str, Any]:
    """By workload and profile: AugServe's goodput at the main load, with its ratio to that of each policy.

    Of a closed loop, by agents: its steps per minute and their ratios.
    """
    summary: dict[str, Any] = {}
    for job in results.agent_jobs:
        for agents, cells in results.by_agents(job).items():
            if OURS in cells:
                entry = _with_ratios(cells[OURS], "steps_per_minute", "steps_over_")
                summary.setdefault(job[0], {}).setdefault(job[1], {})[closed_loop(agents)] = entry
    for job in results.jobs:
        cells = results.at_main_load(job)
        if OURS in cells:
            entry = {"load": results.main_load(job)} | _with_ratios(cells[OURS], "effective_throughput", "over_")
            summary.setdefault(job[0], {}).setdefault(job[1], {}).update(entry)
    return summary


def _with_ratios(ours: Metrics, metric: str, prefix: str) -> Metrics:
    return {name: value for name, value in ours.items() if name == metric or name.startswith(prefix)}


def is_rival(policy: str) -> bool:
    """Whether a policy is none of AugServe's, has no perfect predictions, and a cache that exists."""
    entry = catalogue.CATALOGUE.get(policy)
    return entry is not None and not (entry.uses_deployed_settings or entry.oracle or entry.unbounded_cache)


def ratio(value: float, base: float) -> float | None:
    """None where the base is 0."""
    return value / base if base > 0 else None
