"""What all cells of a comparison share: settings, sessions, engines, and the static settings that were searched."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from ...data.tables.splits import SPLIT_SEEDS, Use
from ...data.workload.trace_set import Split
from ...models.serving.settings import SchedulerSettings, StepTime
from ..project import paths
from ..results.metrics_file import Job, Tried
from ..results.tables import best_setting
from ..simulator.catalogue import TUNED
from ..simulator.cells.cache import Submit
from ..simulator.cells.cell import Cell
from ..simulator.cells.schedule import Schedule
from .params import ComparisonParams, steady

SEED_STEP = 1000
"""Between the seeds of the runs of a cell."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    params: ComparisonParams
    seed: int
    settings: SchedulerSettings
    guess_per_s: float | None  # a rough capacity@90 of stock vLLM on the mix, sessions/s, from tuning
    split: Split | None = None  # which sessions of traces run; required where a workload is traces
    static: Mapping[Job, Mapping[str, Tried]] = field(default_factory=dict)  # policy of TUNED → settings, open loops
    agent_static: Mapping[Job, Mapping[str, Tried]] = field(default_factory=dict)  # the same, closed loops
    guesses: Mapping[Job, float] = field(default_factory=dict)  # like guess_per_s, of jobs that tuning did not run
    step_times: Mapping[str, StepTime] = field(default_factory=dict)  # profile → what a bundle for it would state
    own_profiles: Mapping[str, str] = field(default_factory=dict)  # closed loop → the only engine that it runs on

    def cell(self, job: Job, policy: str, rate_per_s: float, run: int = 0) -> Cell:
        """Run number `run` of a cell. Every policy gets the same sessions."""
        policy = _simulated(policy, self.static.get(job, {}))
        return self._cell(job, policy, run, self.params.schedule(job[0]), rate_per_s=rate_per_s)

    def agent_cell(self, job: Job, policy: str, agents: int, run: int) -> Cell:
        """Run number `run` of a closed loop. Every policy gets the same sessions in the same order."""
        params, policy = self.params, _simulated(policy, self.agent_static.get(job, {}))
        return self._cell(job, policy, run, params.agent_schedule, agents=agents, pause_cap_s=params.pause_cap_s)

    def static_agent_cell(self, job: Job, policy: str) -> Cell:
        """A closed loop in the search for the best static setting."""
        params = self.params
        schedule = dataclasses.replace(params.agent_schedule, window_s=params.static_agent_window_s)
        return self._cell(job, policy, 0, schedule, agents=params.static_agents, pause_cap_s=params.pause_cap_s)

    def _cell(
        self,
        job: Job,
        policy: str,
        run: int,
        schedule: Schedule,
        rate_per_s: float | None = None,
        agents: int | None = None,
        pause_cap_s: float | None = None,
    ) -> Cell:
        workload, profile = job
        settings = self.settings
        if profile in self.step_times:
            settings = dataclasses.replace(settings, step_time=self.step_times[profile], profile=profile)
        return Cell(
            workload,
            policy,
            paths.PROFILES / f"{profile}.json",
            rate_per_s,
            self.seed + run * SEED_STEP,
            schedule,
            settings,
            paths.ONNX,
            self.split,
            agents,
            pause_cap_s,
        )

    def on(self, use: Use) -> Self:
        """The same evaluation on the sessions of another split than that of the report."""
        seed = self.seed + SPLIT_SEEDS[use] - SPLIT_SEEDS["report"]
        split = None if self.split is None else dataclasses.replace(self.split, use=use)
        return dataclasses.replace(self, seed=seed, split=split)

    @property
    def jobs(self) -> list[Job]:
        return [(workload, profile) for workload in self.params.workloads for profile in self.params.profiles]

    @property
    def agent_jobs(self) -> list[Job]:
        """Those with a closed loop."""
        names, own = self.params.present_agent_workloads, self.own_profiles
        return [
            (name, profile) for name in names for profile in ((own[name],) if name in own else self.params.profiles)
        ]

    @property
    def searched_jobs(self) -> list[Job]:
        """The jobs with a capacity of their own. The loads of a swing are multiples of the steady mix's capacity."""
        return list(dict.fromkeys((steady(workload), profile) for workload, profile in self.jobs))

    def attainment(self, submit: Submit, job: Job, policy: str) -> Callable[[Sequence[float]], list[float]]:
        """A function from rates to the SLO attainment at each, over all seeds; the runs of a call run in parallel."""

        def at(rates: Sequence[float]) -> list[float]:
            runs = range(self.params.seeds)
            futures = [[submit(self.cell(job, policy, rate, run)) for run in runs] for rate in rates]
            return [sum(f.result().metrics["attainment"] for f in own) / len(own) for own in futures]

        return at


def _simulated(policy: str, tried: Mapping[str, Tried]) -> str:
    """The name to simulate: of a policy at its best static setting, the best that was tried."""
    return best_setting(tried[policy]) if policy in TUNED else policy
