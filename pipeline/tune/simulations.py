"""The simulations of tuning on the sessions of one split: trials, rivals, and stock vLLM's capacity."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm import tqdm

from ...data.tables.splits import SPLIT_SEEDS, Use
from ...data.workload.mix import MIX, MIX_SWING
from ...data.workload.trace_set import Split
from ...models.serving.settings import SchedulerSettings
from ..project import paths
from ..project.stage import StageError
from ..results.metrics_file import Job
from ..simulator.catalogue import AUGSERVE, VLLM
from ..simulator.cells.capacity import bracket, capacity
from ..simulator.cells.cell import Cell, settings_on
from ..simulator.cells.parallel import Submit
from .params import TuneParams
from .score import Metrics, Scenario

Key = TypeVar("Key")
Capacities = Mapping[Job, float]
"""Capacity@90 of stock vLLM on each workload and engine, sessions/s: load 1x."""


@dataclass(frozen=True, slots=True)
class TuningSimulations:
    """Simulations on the sessions of one use. No two uses share a session."""

    params: TuneParams
    seed: int
    shares: tuple[float, float]  # validation and test share of the sessions of traces
    submit: Submit
    use: Use = "tune"

    def cell(
        self,
        scenario: Scenario,
        rate_per_s: float | None,
        policy: str,
        settings: SchedulerSettings,
        short: bool = False,
    ) -> Cell:
        profile = paths.PROFILES / f"{scenario.profile}.json"
        if scenario.profile != settings.profile:  # each engine has its own step times
            settings = settings_on(settings, profile)
        return Cell(
            scenario.workload,
            policy,
            profile,
            rate_per_s,
            self.seed + SPLIT_SEEDS[self.use] + scenario.seed,
            self.params.schedule(scenario, short),
            settings,
            paths.ONNX,
            Split(self.use, *self.shares),
            scenario.agents,
            None if scenario.agents is None else self.params.pause_cap_s,
        )

    def start(
        self,
        scenario: Scenario,
        capacities: Capacities,
        settings: SchedulerSettings,
        policy: str = AUGSERVE.name,
        short: bool = False,
    ) -> "Future[dict[str, float]]":
        rate_per_s = None
        if scenario.load is not None:
            rate_per_s = scenario.load * capacities[scenario.workload, scenario.profile]
        return self.submit(self.cell(scenario, rate_per_s, policy, settings, short))

    def rivals(self, capacities: Capacities, defaults: SchedulerSettings) -> dict[Scenario, dict[str, Metrics]]:
        """The rivals on every scenario of a trial."""
        futures = {
            (scenario, policy): self.start(scenario, capacities, defaults, policy)
            for scenario in self.params.planned()
            for policy in self.params.rivals_of(scenario)
        }
        found: dict[Scenario, dict[str, Metrics]] = {}
        for (scenario, policy), metrics in collect(futures, f"tune: rivals, {self.use}").items():
            found.setdefault(scenario, {})[policy] = metrics
        return found

    def capacities(self, defaults: SchedulerSettings) -> Capacities:
        """Search the capacity@90 of stock vLLM on each workload and engine with an open loop. A swing has that of the
        steady mix.

        Raises StageError where the capacity of the mix on the tuned engine lies below the bounds of the search.
        """
        params = self.params
        planned = [(each.workload, each.profile) for each in params.scenarios if each.load is not None]
        found: dict[Job, float] = {}
        with tqdm(desc="tune: capacity", unit="run") as bar:  # type: tqdm[Any]
            for job in dict.fromkeys(job for job in planned if job[0] != MIX_SWING):
                attainments = self._attainments(job, defaults, bar)
                low, high = params.capacity_low, params.capacity_high
                if known := job == (MIX, params.profile):
                    unit = capacity(attainments, low, high, params.capacity_rounds)
                else:  # other sessions and engines may be far from these bounds
                    low, high = bracket(attainments, low)
                    unit = capacity(attainments, low, high, params.capacity_rounds)
                if unit is None and known:
                    raise StageError(
                        f"tune: stock vLLM misses the SLO at every rate from {low} sessions/s on; "
                        "lower tune.capacity_low in params.yaml"
                    )
                found[job] = low if unit is None else unit
        return found | {job: found[MIX, job[1]] for job in planned if job[0] == MIX_SWING}

    def _attainments(
        self, job: Job, defaults: SchedulerSettings, bar: "tqdm[Any]"
    ) -> Callable[[Sequence[float]], list[float]]:
        def attainments(rates: Sequence[float]) -> list[float]:
            scenario = Scenario(*job, load=1.0, agents=None, seed=0)
            futures = [self.submit(self.cell(scenario, rate, VLLM.name, defaults)) for rate in rates]
            shares = [future.result()["attainment"] for future in futures]
            bar.update(len(rates))
            return shares

        return attainments


def collect(futures: Mapping[Key, "Future[dict[str, float]]"], description: str) -> dict[Key, Metrics]:
    """Wait for simulations under a progress bar."""
    items: Iterable[tuple[Key, Future[dict[str, float]]]] = tqdm(futures.items(), desc=description, unit="run")
    return {key: future.result() for key, future in items}
